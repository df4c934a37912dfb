"""Busy time of a GPU."""

from __future__ import annotations

import numpy as np

from benchmarks.measuring import covered


def test_overlapping_kernels_count_once() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 900, 40)
    ends = starts + rng.integers(0, 60, 40)
    busy = np.zeros(1000, bool)
    for start, end in zip(starts, ends):
        busy[start:end] = True
    assert covered(zip(starts.tolist(), ends.tolist())) == busy.sum()
    assert covered([]) == 0
