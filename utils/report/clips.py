"""The section of a report about clips."""

from __future__ import annotations

from collections.abc import Mapping

from utils.evaluation.clip_score import MEASURES, AllClips
from utils.report.tables import Row, Section, Table, percent

TEXT = (
    "How well each true object is followed by one track from the first frame to the last. J: intersection over union. "
    "F: how well the contours fit. Both are means over all frames of a clip, then over its objects. An id switches "
    "where an object is found as another track than before. Surplus tracks are no object's, and cost nothing here. "
    "Where the dataset does not tell objects apart, a class stands for one."
)
HEADS = ("Clip", "J&F", "J", "F", "Id switches", "Objects", "Tracks", "Surplus", "Frames")


def clip_sections(clips: AllClips | None) -> list[Section]:
    """The section, with a row for each clip, the worst first; none where there are no clips."""
    if clips is None:
        return []
    rows = tuple(
        Row(
            each.name,
            _cells(each.measures, each.id_switches, len(each.objects), each.tracks, each.surplus, each.frames),
        )
        for each in clips.worst_first()
    )
    objects = sum(len(each.objects) for each in clips.clips)
    totals = [clips.total(count) for count in ("tracks", "surplus", "frames")]
    mean = Row("Mean, or sum", _cells(clips.measures, clips.id_switches, objects, *totals))
    return [Section("clips", "Clips", TEXT, (Table("Clips; J and F in percent", HEADS, rows, mean),))]


def _cells(measures: Mapping[str, float], switches: int | None, *counts: int) -> tuple[str, ...]:
    values = [percent(measures[name]) for name in MEASURES]
    return (*values, "–" if switches is None else str(switches), *map(str, counts))
