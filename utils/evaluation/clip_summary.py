"""What an evaluation prints of clips."""

from __future__ import annotations

from collections.abc import Mapping

from utils.evaluation.clip_score import MEASURES, AllClips
from utils.evaluation.text_table import framed, percent

SHOWN = 10
"""Clips in the table, the worst ones."""


def clip_lines(clips: AllClips | None) -> list[str]:
    """The table of the worst clips, and what has to be said of it; nothing where there are no clips."""
    if clips is None:
        return []
    shown = clips.worst_first()[:SHOWN]
    rows = [_row(each.name, each.frames, each.measures, each.id_switches, each.surplus) for each in shown]
    mean = _row("mean", clips.total("frames"), clips.measures, clips.id_switches, clips.total("surplus"))
    heads = ["Clip", "Frames", "J&F", "J", "F", "IDSW", "Surplus"]
    return [
        *framed(heads, [*rows, mean], left=[0], separate_last=True),
        "In percent; of objects over all frames, then of clips; IDSW are id switches,",
        "surplus the tracks that are no object's",
        *_remarks(clips),
    ]


def _row(name: str, frames: int, measures: Mapping[str, float], switches: int | None, surplus: int) -> list[str]:
    values = [percent(measures[measure]) for measure in MEASURES]
    return [name, str(frames), *values, "-" if switches is None else str(switches), str(surplus)]


def _remarks(clips: AllClips) -> list[str]:
    by_class = sum(not each.told_apart for each in clips.clips)
    counts = {
        "more clips, which are better, are in per_clip.csv": len(clips.clips) - SHOWN,
        "clips have no SegmentationObject: there a class stands for one object": by_class,
        "frames without SegmentationObject are left out of clips that have it": clips.total("left_out"),
        "found objects have no track id: each counts as a track of its own": clips.total("untracked"),
    }
    return [f"{count} {remark}" for remark, count in counts.items() if count > 0]
