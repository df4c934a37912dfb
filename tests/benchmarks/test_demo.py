"""The demo in whole processes: what its gate says."""

from __future__ import annotations

from benchmarks.demo import Run, same_files


def test_the_demo_counts_only_where_all_files_are_written() -> None:
    whole, short = Run(1, 1, 1, 1, 52, 52), Run(1, 1, 1, 1, 52, 51)
    assert same_files({"ours": [whole, whole], "plain": [whole]}).passed
    assert not same_files({"ours": [whole, whole], "plain": [short]}).passed
    assert not same_files({"ours": [Run(1, None, 1, 1, 0, 0)]}).passed
