"""Rows in this process, which starts sooner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks import rows


class Thread(ThreadPoolExecutor):
    """Stands for a process of its own."""

    def __init__(self) -> None:
        super().__init__(1)

    def __call__(self, deadline: float, task: Callable[..., Any], *arguments: Any) -> Any:
        return self.submit(task, *arguments).result()


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "Process", Thread)
