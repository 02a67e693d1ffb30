"""Clips as the subject of a case."""

from __future__ import annotations

import math

import torch

from skipstep import DeepCache
from skipstep.bench import BenchCase, BenchRow, as_dict, load_case, run_case
from skipstep.bench.subjects import ClipSubject

ROWS = (
    BenchRow(name="base"),
    BenchRow(name="linear", reuse=DeepCache(interval=3)),
    BenchRow(name="peer", peer="deepcache", reuse=DeepCache(interval=3, forecast="verbatim")),
)


def _case() -> BenchCase:
    return BenchCase(
        title="clips", model="demo-svd", frames=2, width=64, height=64, steps=10, rounds=1, threads=1, rows=ROWS
    )


def test_rows_make_the_same_clips() -> None:
    subject = ClipSubject(_case())
    base, again, linear = (subject.run(ROWS[index], None, None, 0) for index in (0, 0, 1))
    assert torch.equal(base.latents, again.latents)
    assert base.latents.shape == (1, 2, 4, 8, 8)
    assert base.image is not None
    assert base.image.size == (128, 64)  # both frames
    assert not torch.equal(base.latents, linear.latents)
    other = subject.run(ROWS[0], None, None, 1)
    assert not torch.equal(base.latents, other.latents)


def test_a_case_of_clips_is_measured() -> None:
    base, linear, peer = as_dict(run_case(_case()))["rows"]
    assert base["ratio"] == 1
    for row in (linear, peer):
        assert row["ratio"] > 1.2
        assert 10 < row["latent_psnr_db"] < math.inf


def test_the_shipped_case_holds_together() -> None:
    case = load_case("demo-svd")
    assert case.frames == 14
    assert case.model == "demo-svd"
    assert [row.peer for row in case.rows if row.peer] == ["deepcache"]
