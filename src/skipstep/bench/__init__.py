"""Benchmarks that stack one technique at a time, in turns, with the quality beside the speed."""

from .case import BenchCase, BenchRow
from .case_file import case_from, load_case, shipped_cases
from .compare import compare_results, load_result
from .environment import command_line
from .measure import run_case, with_backend
from .plots import plot_pareto, plot_waterfall
from .report import as_dict, as_json, as_markdown
from .result import BenchResult, RowResult

__all__ = [
    "BenchCase",
    "BenchResult",
    "BenchRow",
    "RowResult",
    "as_dict",
    "as_json",
    "as_markdown",
    "case_from",
    "command_line",
    "compare_results",
    "load_case",
    "load_result",
    "plot_pareto",
    "plot_waterfall",
    "run_case",
    "shipped_cases",
    "with_backend",
]
