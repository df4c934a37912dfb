""""""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils.formats.base import Exported
from utils.formats.review_flags import DIGITS, SIGNS, needs_review, signs
from utils.io.encoding import encode_table
from utils.structures import Instances, Sample


class ReviewExporter:
    """The table `review.csv`, the most doubtful image first, ties in the order of the run.

    Args:
        names: class names, indexed by class id.
        below: the limit of `needs_review`; None counts no shapes.
    """

    def __init__(self, names: Sequence[str], below: float | None = None) -> None:
        self._names, self._below = names, below
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The image's row; no file."""
        values = signs(instances)
        weakest = values.min(axis=1, initial=1.0)
        worst = int(weakest.argmin()) if len(instances) else None
        doubt = 0.0 if worst is None else 1 - weakest[worst]
        row: dict[str, Any] = {"doubt": round(doubt, DIGITS), "objects": len(instances)}
        if self._below is not None:
            row["needs_review"] = int(needs_review(instances, self._below).sum())
        if instances.track_ids is not None:
            row["track"] = "" if worst is None else int(instances.track_ids[worst])
        row["doubtful"] = "" if worst is None else self._names[instances.detections.class_ids[worst]]
        row |= {sign: round(least, DIGITS) for sign, least in zip(SIGNS, values.min(axis=0, initial=1.0).tolist())}
        return Exported({}, record=row)

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """`review.csv`."""
        rows = [{"image_id": image_id, **row} for image_id, row in records]
        rows.sort(key=lambda row: -row["doubt"])
        flagged = [row for row in rows if row.get("needs_review")]
        count = f"; {len(flagged)} of them with shapes to review" if self._below is not None else ""
        self._summary = [f"{len(rows)} images, the most doubtful first{count}"]
        track = ["track"] if any("track" in row for row in rows) else []
        columns = ("image_id", "doubt", "objects", "needs_review", "doubtful", *track, *SIGNS)
        return {"review.csv": encode_table(columns, rows)}

    def summary(self) -> list[str]:
        """How many images the table holds."""
        return self._summary
