"""What follows from measured passes."""

from __future__ import annotations

import pytest

from benchmarks.measuring import Pass
from benchmarks.report import Cell, Result, ratios


def test_ratios_compare_equal_work() -> None:
    rates = {
        Cell(1, "fp32", "overlays"): 1,
        Cell(1, "bf16", "overlays"): 2,
        Cell(2, "bf16", "metrics"): 5,
        Cell(5, "bf16", "overlays"): 8,
        Cell(5, "bf16", "metrics"): 10,
        Cell(6, "bf16", "model"): 16,
    }
    results = {cell: Result(cell, 0, [Pass(rate, 1, 1, 1, 0)] * 3) for cell, rate in rates.items()}
    overlays = ratios(results[Cell(5, "bf16", "overlays")], results.values())
    assert overlays == {"plain": 4, "plain fp32": 8, "limit": 0.5}
    assert ratios(results[Cell(5, "bf16", "metrics")], results.values()) == {"plain": 2, "limit": 0.625}


def test_a_result_is_the_median_of_its_passes() -> None:
    result = Result(Cell(5, "fp32", "all"), 0, [Pass(10, s, 2 * s, m, 0) for s, m in [(1, 7), (2, 9), (5, 8)]])
    assert (result.rate, result.cpu_ms, result.peak_rss) == (5, 400, 9)
    assert result.spread == pytest.approx((10 - 2) / 5)
