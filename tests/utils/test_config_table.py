from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from utils.config import Config
from utils.official import REPOSITORY


def key_table() -> Iterator[str]:
    """The rows of the README's table: each key, its default, and what its section's docstring says."""

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


def test_every_key_stands_in_the_readme_as_its_docstring_describes_it() -> None:
    rows = list(key_table())
    readme = REPOSITORY / "README.md"
    if not readme.is_file():
        pytest.skip("no README")
    missing = [row for row in rows if row not in readme.read_text("utf-8")]
    assert not missing, "\n".join(missing)
