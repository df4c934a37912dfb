"""Prompt files to be written, and images of a run for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


class Images:
    """Images of a run, all of one size, in a folder."""

    def __init__(
        self, ids: Sequence[str], size: tuple[int, int] | None = (480, 640), folder: Path = Path("photos")
    ) -> None:
        self.ids, self.size = list(ids), size
        self.paths = [folder / f"{image_id}.jpg" for image_id in ids]

    def sizes(self, positions: Sequence[int]) -> list[tuple[int, int] | None]:
        """(height, width) of each."""
        return [self.size for _ in positions]


@pytest.fixture(scope="session")
def images_of() -> type[Images]:
    """Makes the images of a run from their ids and their common size."""
    return Images


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a value as JSON, or a text as it is; the file's path."""

    def write(content: Any) -> Path:
        path = tmp_path / "prediction.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write
