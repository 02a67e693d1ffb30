"""What the calibrated forecast measures, kept by the engine and in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from models import sdxl_unet

from skipstep import DeepCache
from skipstep.cli import main
from skipstep.deepcache import Position
from skipstep.deepcache.calibration import RunShape
from skipstep.deepcache.responses import Responses
from skipstep.engine import ImageEngine, ImageRequest, compare
from skipstep.engine import calibrations as calibrations_module
from skipstep.engine.calibrations import CalibrationFolder
from skipstep.errors import OutputError

RequestFor = Callable[..., ImageRequest]
CALIBRATED = DeepCache(interval=3, forecast="calibrated")
HALF = DeepCache(interval=2, forecast="calibrated")
EVALUATIONS = 10
LEVELS = tuple(2.0 - 0.37 * index for index in range(EVALUATIONS))
SHAPE = RunShape.of(0, EVALUATIONS, LEVELS, "Euler")


def _responses() -> Responses:
    """Errors that grow along curves, so that every gap has another slope."""
    generator = torch.Generator().manual_seed(0)
    speeds = torch.rand(30, generator=generator, dtype=torch.float64) * 3

    def features(at: int) -> torch.Tensor:
        return (speeds * (at / EVALUATIONS) ** 0.7).sin()

    inner = []
    for at in range(EVALUATIONS):
        errors = [features(at - 1 - back) - features(at) for back in range(at)]
        inner.append([[float(one @ other / 30) for other in errors] for one in errors])
    responses = Responses(branch=0, log_sigmas=LEVELS)
    responses.add(inner)
    return responses


@pytest.fixture(scope="module")
def unet() -> torch.nn.Module:
    made: torch.nn.Module = sdxl_unet()
    return made


@pytest.fixture
def kept(unet: torch.nn.Module, tmp_path: Path) -> CalibrationFolder:
    """A folder, made when needed, with one calibration."""
    folder = CalibrationFolder(unet, tmp_path / "new" / "folder")
    folder.put(SHAPE, _responses())
    return folder


def test_the_first_picture_is_exact_and_the_second_reuses(engine: ImageEngine, request_for: RequestFor) -> None:
    fresh = ImageEngine(engine.model)
    lossless = fresh.generate(request_for(cache="lossless", steps=14))
    first, second, third = (fresh.generate(request_for(cache=HALF, steps=14)) for _ in range(3))
    assert torch.equal(first.latents, lossless.latents)
    assert (first.report.passes, second.report.passes) == ("F" * 14, "Fr" * 7)
    assert not torch.equal(second.latents, first.latents)
    assert torch.equal(second.latents, third.latents)
    # below 14 steps the fits explain too little to leave the straight line
    linear = fresh.generate(request_for(cache=DeepCache(interval=2), steps=14))
    assert not torch.equal(second.latents, linear.latents)
    assert ImageEngine(engine.model).generate(request_for(cache=HALF, steps=14)).report.reuse_passes == 0


def test_a_folder_keeps_the_slopes(kept: CalibrationFolder, unet: torch.nn.Module) -> None:
    table = _responses().slope_table()
    read = CalibrationFolder(unet, kept.file(SHAPE).parent).get(SHAPE)
    assert read is not None
    slopes = []
    for at in range(2, EVALUATIONS):
        for last in range(1, at):
            for previous in range(last):
                places = [Position(index, log_sigma=LEVELS[index]) for index in (previous, last, at)]
                expected = table.reach(*places)
                assert read.reach(*places) == (None if expected is None else pytest.approx(expected, abs=2e-3))
                slopes += [] if expected is None else [round(expected, 3)]
    assert len(set(slopes)) > 20


def test_the_file_is_small_json(kept: CalibrationFolder) -> None:
    file = kept.file(SHAPE)
    data = json.loads(file.read_text())
    assert (data["version"], data["evaluations"]) == (1, EVALUATIONS)
    assert list(file.parent.iterdir()) == [file]
    levels = tuple(2.0 - 0.1 * index for index in range(50))  # a run of 50 steps, with as much as can be kept
    long = RunShape.of(0, 50, levels, "Euler")
    inner = [[[1.0 + (one == other) for one in range(min(at, 12))] for other in range(min(at, 12))] for at in range(50)]
    responses = Responses(branch=0, log_sigmas=levels)
    responses.add(inner)
    kept.put(long, responses)
    assert 1000 < kept.file(long).stat().st_size < 40_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"factors"', '"faktors"'),
        lambda text: json.dumps({**json.loads(text), "factors": [[1, 2]]}),
        lambda text: json.dumps({**json.loads(text), "weights": ["heavy"]}),
        lambda text: json.dumps({**json.loads(text), "weights": [float("nan")] * len(json.loads(text)["weights"])}),
        lambda text: json.dumps({**json.loads(text), "factors": [[1, 1, [float("nan")] * EVALUATIONS]]}),
        lambda text: json.dumps({**json.loads(text), "log_sigmas": [float("-inf")] * EVALUATIONS}),
    ],
)
def test_a_damaged_file_counts_as_missing(kept: CalibrationFolder, damage: Callable[[str], str]) -> None:
    whole = kept.file(SHAPE).read_text()
    kept.file(SHAPE).write_text(damage(whole))
    assert kept.get(SHAPE) is None
    kept.file(SHAPE).write_text(whole)
    assert kept.get(SHAPE) is not None


def test_other_weights_and_other_runs_count_as_missing(kept: CalibrationFolder) -> None:
    folder = kept.file(SHAPE).parent
    assert CalibrationFolder(sdxl_unet(), folder).get(SHAPE) is not None
    assert CalibrationFolder(sdxl_unet(seed=1), folder).get(SHAPE) is None
    assert kept.get(RunShape.of(1, EVALUATIONS, LEVELS, "Euler")) is None
    assert kept.get(RunShape.of(0, EVALUATIONS, tuple(level + 0.01 for level in LEVELS), "Euler")) is None


def test_two_checkpoints_of_one_shape_keep_their_own(kept: CalibrationFolder) -> None:
    folder = kept.file(SHAPE).parent
    other = CalibrationFolder(sdxl_unet(seed=1), folder)
    other.put(SHAPE, _responses())
    assert other.get(SHAPE) is not None
    assert kept.get(SHAPE) is not None
    assert len(list(folder.iterdir())) == 2
    rounded = CalibrationFolder(sdxl_unet().to(torch.bfloat16), folder)
    assert rounded.file(SHAPE) == kept.file(SHAPE)
    rounded.put(SHAPE, _responses())
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_made_is_named(unet: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot keep calibrations in .*file"):
        CalibrationFolder(unet, tmp_path / "file" / "folder").put(SHAPE, _responses())


def test_the_command_line_calibrates_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrations_module, "default_folder", lambda: tmp_path / "kept")
    options = ("--width", "64", "--height", "64", "--steps", "10", "--seed", "3", "--out", str(tmp_path / "a.png"))
    printed = []
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(("image", "a fox on a blue background", "--forecast", "calibrated", *options))
        assert not stop.value.code
        printed.append(capsys.readouterr().out)
    assert "every pass in full: this run calibrated, and the next ones reuse" in printed[0]
    assert "10 full + 0 reuse" in printed[0]
    assert "4 full + 6 reuse" in printed[1]
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_comparison_times_reuse_and_not_the_calibration(engine: ImageEngine, request_for: RequestFor) -> None:
    runs: list[str] = []
    request = request_for(cache=CALIBRATED, steps=10)
    result = compare(ImageEngine(engine.model), request, rounds=1, on_run=lambda name, _: runs.append(name))
    assert runs == ["baseline", "cached"]
    assert result.cached.report.passes == "FrrFrrFrrF"
    assert result.loop_ratios == (result.baseline.report.loop_s / result.cached.report.loop_s,)
    assert 10 < result.latent_psnr < 100
