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
    return csv_file([columns, *([row.get(column, "") for column in columns] for row in rows)])


def csv_file(rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file (UTF-8) of rows as they are."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # The bytes of a file name that is not valid UTF-8 are kept.
    return text.getvalue().encode("utf-8", "surrogateescape")
