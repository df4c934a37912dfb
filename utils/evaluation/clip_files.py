"""What an evaluation of clips adds to its files: `clips` in `metrics.json`, and `per_clip.csv`."""

from __future__ import annotations

from typing import Any

from utils.classes import label_of
from utils.evaluation.clip_score import ClipObject, ClipScore
from utils.evaluation.measures import rounded
from utils.evaluation.names import PER_CLIP
from utils.evaluation.result import Evaluation
from utils.exporters.table import table

COLUMNS = ("clip", "object", "class", "track", "J_and_F", "J", "F", "id_switches", "frames")


def clip_files(evaluation: Evaluation) -> dict[str, bytes]:
    """`per_clip.csv`, a line for each true object, the worst clip first; nothing where there are no clips."""
    clips, names = evaluation.clips, evaluation.names
    if clips is None:
        return {}
    entries = ({"clip": clip.name, **_object(each, names)} for clip in clips.worst_first() for each in clip.objects)
    rows = ({name: _cell(value) for name, value in entry.items()} for entry in entries)
    return {PER_CLIP: table(COLUMNS, rows)}


def clip_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The key `clips` with all numbers in full precision; nothing where there are no clips."""
    clips = evaluation.clips
    if clips is None:
        return {}
    per_clip = {clip.name: _clip(clip, evaluation.names) for clip in clips.clips}
    return {"clips": {**clips.measures, "id_switches": clips.id_switches, "per_clip": per_clip}}


def _clip(clip: ClipScore, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "frames": clip.frames,
        "frames_left_out": clip.left_out,
        **clip.measures,
        "id_switches": clip.id_switches,
        "tracks": clip.tracks,
        "surplus": clip.surplus,
        "untracked_objects": clip.untracked,
        "objects": [_object(each, names) for each in clip.objects],
    }


def _object(each: ClipObject, names: tuple[str, ...]) -> dict[str, Any]:
    """A true object; `frames` are those that show it."""
    return {
        "object": each.number,
        "class": names[label_of(each.class_id)],
        "track": each.track,
        **each.measures,
        "id_switches": each.id_switches,
        "frames": each.frames,
    }


def _cell(value: Any) -> Any:
    return "" if value is None else rounded(value) if isinstance(value, float) else value
