"""Rows in this process, which starts sooner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks import rows


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))
