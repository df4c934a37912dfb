"""Tables for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from utils.exporters.exporter import Exporter


class TableExporter(Exporter, Protocol):
    """An exporter that makes one table of all images."""

    def summary(self) -> list[str]:
        """What the table says, in a few lines; known when it is assembled."""


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A CSV file (UTF-8) with a line of column names; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # The bytes of a file name that is not valid UTF-8 are kept.
    return text.getvalue().encode("utf-8", "surrogateescape")
