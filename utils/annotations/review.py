"""The table that tells a person which images to look at first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.formats.base import Exported, Exporter
from utils.formats.review_flags import CONFIDENCE_TERMS, DIGITS, confidence_terms, needs_review
from utils.io.encoding import encode_table
from utils.structures import Instances, Sample


class ReviewExporter(Exporter):
    """Make the table `review.csv`, the most uncertain image first, ties in the order of the run.

    Args:
        names: class names, indexed by class id.
        below: the limit of `needs_review`; None counts no shapes.
    """

    def __init__(self, names: Sequence[str], below: float | None = None) -> None:
        self._names, self._below = names, below
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the image's row; no file."""
        terms = confidence_terms(instances)
        min_confidence = terms.min(axis=1, initial=1.0)
        worst = int(min_confidence.argmin()) if len(instances) else None
        uncertainty = 0.0 if worst is None else 1 - min_confidence[worst]
        row: dict[str, Any] = {"doubt": round(uncertainty, DIGITS), "objects": len(instances)}
        if self._below is not None:
            row["needs_review"] = int(needs_review(instances, self._below).sum())
        if instances.track_ids is not None:
            row["track"] = "" if worst is None else int(instances.track_ids[worst])
        row["doubtful"] = "" if worst is None else self._names[instances.detections.class_ids[worst]]
        least = terms.min(axis=0, initial=1.0).tolist()
        row |= {term: round(value, DIGITS) for term, value in zip(CONFIDENCE_TERMS, least)}
        return Exported({}, record=row)

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record is a row of the table."""
        cells = all(isinstance(value, (str, int, float)) for value in record.values())
        return cells and not isinstance(record.get("doubt", ""), str)

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """Make `review.csv`."""
        rows = [{"image_id": image_id, **row} for image_id, row in records]
        rows.sort(key=lambda row: -row["doubt"])
        flagged = sum(bool(row.get("needs_review")) for row in rows)
        count = f"; {flagged} of them with shapes to review" if self._below is not None else ""
        self._summary = [f"{len(rows)} images, the most doubtful first{count}"]
        track = ["track"] if any("track" in row for row in rows) else []
        columns = ("image_id", "doubt", "objects", "needs_review", "doubtful", *track, *CONFIDENCE_TERMS)
        return {"review.csv": encode_table(columns, rows)}

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say how many images the table holds; nothing in processes that did not make it."""
        return self._summary
