"""The two plots: whole pictures, whatever the rows are called."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from fakes_of_bench import FakeSubject, picture, run_fake
from PIL import Image

from skipstep import DeepCache
from skipstep.bench import BenchRow, as_dict, plot_pareto, plot_waterfall
from skipstep.compile import CompileOptions

pytest.importorskip("matplotlib")
COSTS = {"base": 4.0, "$quick & <fine> \\frac$": 2.0, "slower": 8.0, "steps": 1.0, "peer": 3.0}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    subject = FakeSubject(COSTS)
    subject.latents = lambda row, _: torch.tensor([0.0, 7.0, 0.0 if row.name == "base" else 0.5])
    subject.images = lambda row, _: picture(len(row.name))
    _, quick, slower, steps, peer = COSTS
    rows = (
        BenchRow(name="base"),
        BenchRow(name=quick, reuse=DeepCache()),
        BenchRow(name="left out", compile=CompileOptions(cuda_graphs=True)),
        BenchRow(name=slower),
        BenchRow(name=steps, steps=2),
        BenchRow(name=peer, peer="torch.compile"),
    )
    return as_dict(run_fake(monkeypatch, subject, rows))


def check(made: tuple[bytes, bytes] | None) -> tuple[tuple[int, int], str]:
    """Size of the PNG, and the SVG as text, once both were read."""
    assert made is not None
    png, svg = made
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        assert len(set(image.convert("L").tobytes())) > 10  # something is drawn
        size = image.size
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    return size, svg.decode()


def test_the_waterfall_has_a_bar_for_every_row_that_ran(data: dict[str, Any]) -> None:
    (width, height), svg = check(plot_waterfall(data))
    assert 900 < width < 1200
    assert 400 < height < 700
    for text in ("quick &amp; &lt;fine&gt;", "slower", "steps", "A fake, 4 steps", "0.50, 28 dB", "2.00, 28 dB"):
        assert text in svg  # matplotlib writes each text as a comment beside its outlines
    assert "left out" not in svg
    two = {**data, "rows": data["rows"][:2]}
    (_, lower), _ = check(plot_waterfall(two))
    assert lower < height


def test_the_pareto_plot_has_the_rows_whose_pictures_differ(data: dict[str, Any]) -> None:
    (width, height), svg = check(plot_pareto(data))
    assert (width, height) == (1020, 660)
    assert "slower" in svg
    assert "left out" not in svg
    assert "base" not in svg


def test_there_is_no_pareto_plot_without_pictures_that_differ(data: dict[str, Any]) -> None:
    assert plot_pareto({**data, "case": {**data["case"], "random_weights": True}}) is None
    assert plot_pareto({**data, "rows": data["rows"][:1]}) is None


def test_a_plot_is_the_same_at_every_call(data: dict[str, Any]) -> None:
    assert plot_waterfall(data)[0] == plot_waterfall(data)[0]
