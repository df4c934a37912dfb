from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.config import Config
from utils.official import REPOSITORY


def key_table() -> Iterator[str]:
    """The rows of the table in docs/config.md: each key, its default, and what its section's docstring says."""

    def rows(section: Any, prefix: str) -> Iterator[str]:
        described = re.split(
            r"\n    (?=\w+: )", inspect.cleandoc(type(section).__doc__ or "").partition("Attributes:")[2]
        )
        meaning = {name: " ".join(text.split()) for name, _, text in (entry.partition(": ") for entry in described)}
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if dataclasses.is_dataclass(value):
                yield from rows(value, f"{prefix}{field.name}.")
            else:
                default = "" if value is None else f"`{value if isinstance(value, str | Path) else json.dumps(value)}`"
                yield f"| `{prefix}{field.name}` | {default} | {meaning[field.name]} |"

    yield from rows(Config(), "")


def test_every_key_stands_in_the_docs_as_its_docstring_describes_it() -> None:
    rows = list(key_table())
    page = (REPOSITORY / "docs" / "config.md").read_text("utf-8")
    missing = [row for row in rows if row not in page]
    assert not missing, "\n".join(missing)
