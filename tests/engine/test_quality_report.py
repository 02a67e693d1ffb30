"""The report of a made-up comparison, read back as a browser, a person and a program would."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstep.engine import ImageRequest, media
from skipstep.engine.metrics import image_psnr
from skipstep.engine.quality_plot import quality_plot
from skipstep.engine.quality_report import as_html, check_report, environment, write_report
from skipstep.engine.quality_rows import Case, PicturePair, QualityResult, Row
from skipstep.engine.quality_table import Cell, headings, own_notes, row_cells, verdicts
from skipstep.errors import OptionError, OutputError

EVIL = '<script>alert("1")</script> & a cat'
VOID = {"meta", "img", "line", "circle", "rect"}


def _case(prompt: str, seed: int, level: float, *, ratio: float = 2.0) -> Case:
    return Case(
        prompt=prompt,
        seed=seed,
        latent_psnr=level,
        psnr=level - 5,
        ssim=0.99,
        latent_relative_error=0.01,
        lpips=None,
        flop_ratio=ratio,
        time_ratio=ratio - 0.1,
    )


def _row(
    name: str,
    levels: tuple[float, float, float, float],
    *,
    equal_cost: str | None = None,
    stands_for: tuple[str, ...] = (),
    ratio: float = 2.0,
) -> Row:
    places = [(EVIL, 0), (EVIL, 1), ("b", 0), ("b", 1)]
    cases = tuple(_case(prompt, seed, level, ratio=ratio) for (prompt, seed), level in zip(places, levels, strict=True))
    return Row(name=name, steps=30, passes="FrF", seeds=2, cases=cases, equal_cost=equal_cost, stands_for=stands_for)


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8))


def _result(*rows: Row) -> QualityResult:
    pair = PicturePair(row=rows[0].name, case=rows[0].cases[0], reference=_picture(0), image=_picture(1))
    return QualityResult(
        model="toy",
        device="cpu",
        dtype="float32",
        request=ImageRequest(prompt="", width=64, height=64, guidance_scale=3.0),
        prompts=(EVIL, "b"),
        seeds=(0, 1),
        baseline_passes="FFF",
        baseline_loop_s=1.5,
        rows=rows,
        worst=(pair,),
    )


CACHED = _row("<b>", (50.0, 52.0, 54.0, 56.0), equal_cost="15 uncached steps")
FEWER = _row("15 uncached steps", (40.0, 41.0, 42.0, 43.0), stands_for=("<b>",), ratio=1.9)
LOSSLESS = _row("all | full", (math.inf,) * 4, ratio=1.0)
RESULT = _result(CACHED, FEWER, LOSSLESS)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> _Page:
    return _Page(as_html(RESULT, environment(), ["LPIPS is not here", *own_notes(RESULT)]))


def test_the_page_is_well_formed_and_needs_nothing_else(page: _Page) -> None:
    assert page.open == []
    names = {name for name, _ in page.tags}
    assert {"table", "svg", "img"} < names
    assert not names & {"script", "link", "iframe", "object", "b"}
    for _, attributes in page.tags:
        for name in ("src", "href", "action"):
            assert attributes.get(name, "data:").startswith("data:")  # type: ignore[union-attr]
        assert not any(name.startswith("on") for name in attributes)


def test_prompts_and_names_are_escaped(page: _Page) -> None:
    assert page.text.count(EVIL) == 2  # among the prompts and under a picture
    assert "<b>" in page.text
    (alt,) = (attributes["alt"] for name, attributes in page.tags if name == "img")
    assert alt is not None
    assert EVIL in alt


def test_the_picture_is_the_pair_side_by_side(page: _Page) -> None:
    (source,) = (attributes["src"] for name, attributes in page.tags if name == "img")
    assert source is not None
    with Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,")))) as sheet:
        panels = [sheet.crop((i * 256, media.CAPTION, (i + 1) * 256, sheet.height)) for i in range(3)]
    assert image_psnr(panels[0], _picture(0)) == math.inf
    assert image_psnr(panels[1], _picture(1)) == math.inf


def test_the_page_has_the_figures_and_says_what_is_missing(page: _Page) -> None:
    assert "LPIPS is not here" in page.text
    assert "Only 2 prompts: intervals from fewer than 20 are too narrow" in page.text
    assert "<b> is 11.5 dB closer to the uncached pictures than 15 uncached steps" in page.text
    assert "Not in the plot, since their pictures equal the uncached ones: all | full." in page.text
    assert "loop 1500 ms" in page.text
    columns = [name for name, attributes in page.tags if name == "th" and attributes.get("scope") == "col"]
    assert len(columns) == len(headings(RESULT)) == 10
    assert "LPIPS" not in headings(RESULT)


def test_cells_have_the_median_the_interval_and_the_worst() -> None:
    cells = dict(zip(headings(RESULT), row_cells(RESULT, CACHED), strict=True))
    assert (cells["latent PSNR, dB"].main, cells["latent PSNR, dB"].worst) == ("53.0", "50.0")
    assert cells["latent PSNR, dB"].interval == "51.0 to 55.0"  # either prompt alone
    assert (cells["gain over fewer steps, dB"].main, cells["gain over fewer steps, dB"].worst) == ("+11.5", "+10.0")
    assert cells["time ratio"].main == "1.90"
    assert cells["passes"].main == "2 full + 1 reuse"
    assert row_cells(RESULT, LOSSLESS)[5] == Cell(main="identical")


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((50.0, 50.0, 50.0, 50.0), "c is 8.5 dB closer to the uncached pictures than f"),
        ((30.0, 30.0, 30.0, 30.0), "c is 11.5 dB farther from the uncached pictures than f"),
        ((50.0, 50.0, 30.0, 30.0), "c is neither clearly closer nor clearly farther than f"),
    ],
)
def test_verdicts_follow_the_interval(levels: tuple[float, float, float, float], words: str) -> None:
    rival = _row("f", (40.0, 41.0, 42.0, 43.0), stands_for=("c",))
    (sentence,) = verdicts(_result(_row("c", levels, equal_cost="f"), rival))
    assert words in sentence


def test_identical_pictures_are_noted() -> None:
    assert own_notes(RESULT)[1:] == ["all | full: 4 of 4 pictures equal the uncached ones exactly."]
    assert verdicts(RESULT)[1] == "all | full costs what the uncached run does and gives the same pictures."


def test_a_sampler_that_adds_noise_is_noted() -> None:
    noisy = replace(RESULT, request=replace(RESULT.request, sampler="euler_a"))
    assert "euler_a adds new noise at every step" in own_notes(noisy)[-1]
    assert not any("noise" in note for note in own_notes(RESULT))


def test_up_is_closer_and_right_is_less_work_in_the_plot() -> None:
    plot = quality_plot(RESULT)
    assert plot is not None
    points = {point.name: point for point in plot.points}
    assert set(points) == {"<b>", "15 uncached steps"}
    assert plot.left_out == ("all | full",)
    cached, fewer = points["<b>"], points["15 uncached steps"]
    assert cached.y < fewer.y  # SVG counts down
    assert cached.x > fewer.x
    assert cached.top is not None
    assert cached.bottom is not None
    assert cached.top < cached.y < cached.bottom
    assert plot.links == ((cached.x, cached.y, fewer.x, fewer.y),)
    values = [float(text) for _, text in plot.y_ticks]
    slope = (plot.y_ticks[-1][0] - plot.y_ticks[0][0]) / (values[-1] - values[0])
    assert cached.y == pytest.approx(plot.y_ticks[0][0] + slope * (53 - values[0]), abs=0.2)


def test_nothing_is_plotted_of_identical_pictures_alone() -> None:
    alone = _result(LOSSLESS)
    assert quality_plot(alone) is None
    assert "Nothing to plot" in as_html(alone, environment(), [])


def test_json_has_every_case_and_no_infinity(tmp_path: Path) -> None:
    write_report(RESULT, tmp_path / "a.html", left_out=["no LPIPS"])
    figures = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert [row["name"] for row in figures["rows"]] == ["<b>", "15 uncached steps", "all | full"]
    first, last = figures["rows"][0], figures["rows"][-1]
    assert first["latent_psnr"]["median"] == 53
    assert [case["latent_psnr"] for case in first["cases"]] == [50, 52, 54, 56]
    assert first["lpips"] is None
    assert last["latent_psnr"]["median"] is None
    assert last["cases"][0]["identical"] is True
    assert first["cases"][0]["identical"] is False
    assert figures["notes"][0] == "no LPIPS"
    assert figures["versions"]["torch"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json", "a.md"]


def test_markdown_rows_have_as_many_cells_as_the_heading(tmp_path: Path) -> None:
    write_report(RESULT, tmp_path / "a.html")
    lines = (tmp_path / "a.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 1 + 3
    assert {line.count("|") for line in rows} == {11}
    assert "53.0 [51.0 to 55.0] worst 50.0" in rows[3]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.png", OptionError, "must end in .html, got"),
        ("missing/a.html", OutputError, "no such file or directory"),
        ("folder.html", OutputError, "folder.html is a folder"),
        ("beside.html", OutputError, "beside.json is a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "beside.json").mkdir()
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        check_report(tmp_path / name)
    check_report(tmp_path / "fine.html")
    assert set(tmp_path.iterdir()) == before
