"""Id switches, as CLEAR MOT counts them (Bernardin & Stiefelhagen 2008, https://doi.org/10.1155/2008/246309).

Frame by frame, true objects are matched to tracks that overlap them with an IoU of 0.5 at least. A match that was made
before is kept where it still holds; what is left is matched so that the IoU is the largest in total. An object that is
matched to another track than the last time, be it long ago, has switched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

MATCH = 0.5
"""The least IoU of an object and the track that is matched to it."""

FrameOverlaps = tuple[Sequence[int], Sequence[Hashable], np.ndarray]
"""Objects and tracks that a frame shows, and their (objects, tracks) float64 IoU."""


def id_switches(frames: Iterable[FrameOverlaps]) -> Counter[int]:
    """How often each object of a clip switched, objects that never did left out.

    Args:
        frames: in order.
    """
    switches, last = Counter[int](), dict[int, Hashable]()
    for objects, tracks, ious in frames:
        before = [tracks.index(last[each]) if last.get(each) in tracks else None for each in objects]
        for row, column in matches(ious, before):
            number, track = objects[row], tracks[column]
            if last.setdefault(number, track) != track:
                switches[number] += 1
                last[number] = track
    return switches


def matches(ious: np.ndarray, before: Sequence[int | None]) -> list[tuple[int, int]]:
    """Pairs of an object and a track, each in one pair at most.

    Args:
        ious: (M, N) float64.
        before: the position of the track that each object was matched to the last time, or None.
    """
    from scipy.optimize import linear_sum_assignment

    valid = np.where(ious >= MATCH, ious, 0)
    kept: dict[int, int] = {}
    for row, column in enumerate(before):
        if column is not None and valid[row, column]:
            kept[row] = column
            valid[row] = valid[:, column] = 0
    rows, columns = linear_sum_assignment(valid, maximize=True)
    made = zip(rows.tolist(), columns.tolist())
    return [*kept.items(), *((row, column) for row, column in made if valid[row, column])]
