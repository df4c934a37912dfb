"""What batches are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from utils.structures import Sample


class Dataset(Protocol):
    """Samples by their position.

    Attributes:
        ids: their image ids.
        paths: the image files, in the order of `ids`.
    """

    ids: list[str]
    paths: list[Path]

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if it cannot be used."""
