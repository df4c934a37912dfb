"""The examples of docs/extending.md, run as they stand there; the tables are as before when a test is over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.detector import DETECTORS
from utils.formats.registry import FORMATS
from utils.metrics.summary import LABEL_MEASURES
from utils.prompts import readers

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Runs the code below a heading of the page; returns the names that it defines."""
    tables: tuple[dict[str, Any], ...] = FORMATS, DETECTORS, LABEL_MEASURES
    before = [{**table} for table in tables]
    monkeypatch.setattr(readers, "PROMPT_FORMATS", [*readers.PROMPT_FORMATS])

    def run(heading: str) -> dict[str, Any]:
        _, _, rest = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")
        section = rest.partition("\n## ")[0]
        namespace: dict[str, Any] = {"__name__": "example"}
        blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        assert blocks, heading
        for block in blocks:
            exec(compile(block, f"{PAGE.name}: {heading}", "exec", dont_inherit=True), namespace)
        return namespace

    yield run
    for table, lines in zip(tables, before):
        table.clear()
        table.update(lines)
