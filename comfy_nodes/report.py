"""A run in words."""

from __future__ import annotations

from itertools import groupby

from skipstep.deepcache import RunReport

from .sampling import Speedup

_MIB = 2**20
_MOST_GROUPS = 24


def describe(speedup: Speedup | None) -> str:
    """The latest run of a MODEL, for people; waits for the device."""
    if speedup is None:
        return "This model has no speed-up: connect it after DeepCache Speedup, SVD Speedup or Apply Cache Plan."
    run = speedup.record.latest
    if run is None:
        return "Nothing was sampled with this model yet: connect the latent of the sampler that it goes to."
    report = run.report()
    lines = [
        f"cache: {run.source}",
        f"UNet calls: {report.evaluations} = {report.full_passes} full + {report.reuse_passes} reuse",
        _pattern(report.passes),
        f"{report.evaluations / report.loop_s:.2f} calls/s, sampling took {report.loop_s:.2f} s",
        *_times(report),
        f"features: {report.cache_bytes / _MIB:.1f} MiB"
        + (f" and {report.host_bytes / _MIB:.1f} MiB of host memory" if report.host_bytes else ""),
    ]
    return "\n".join(lines)


def _times(report: RunReport) -> list[str]:
    """Median times, and what they promise against what was measured."""
    full = sorted(report.full_s)[len(report.full_s) // 2]
    lines = [f"a full pass takes {1000 * full:.1f} ms"]
    if report.reuse_s:
        reuse = sorted(report.reuse_s)[len(report.reuse_s) // 2]
        lines[0] += f", a reuse pass {1000 * reuse:.1f} ms"
        lines.append(f"speed-up: {report.expected_speedup:.2f} by these, {report.measured_speedup:.2f} of the loop")
    return lines


def _pattern(passes: str) -> str:
    """The passes in order, runs of one kind counted: F r2 F r2."""
    groups = [(kind, len(list(group))) for kind, group in groupby(passes)]
    told = [kind if count == 1 else f"{kind}{count}" for kind, count in groups[:_MOST_GROUPS]]
    return "in order (F full, r reuse): " + " ".join(told) + (" ..." if len(groups) > _MOST_GROUPS else "")
