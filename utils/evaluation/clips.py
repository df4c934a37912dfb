"""What is measured over clips: region similarity J, contour accuracy F and id switches of each true object.

As in the unsupervised task of DAVIS 2017: a true object has one track through the whole clip, chosen so that the mean
of J and F over all frames is the largest in total. Every frame counts; where object and track are both absent, they
agree. Tracks that are no object's cost nothing, but are counted. A track of the wrong class counts here as any other:
classes are what mean IoU is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from utils.evaluation.clip_score import ClipObject, ClipScore
from utils.evaluation.frame_score import Agreement, FrameScore
from utils.evaluation.id_switches import id_switches

ANYWHERE = -1
TrackKey = tuple[int, int]
"""What a track is called in its clip: the only frame that it can be in, or ANYWHERE, and its number."""


def clip_scores(frames: Iterable[FrameScore]) -> tuple[ClipScore, ...]:
    """The clips in the order of their names; the frames may come in any order."""
    ordered = sorted(frames, key=lambda each: (each.frame.clip, each.frame.index))
    return tuple(clip_score(name, [*group]) for name, group in groupby(ordered, lambda each: each.frame.clip))


def clip_score(name: str, frames: Sequence[FrameScore]) -> ClipScore:
    """One clip; its frames in order, at least one."""
    told_apart = any(each.told_apart for each in frames)
    counted = [each for each in frames if each.told_apart == told_apart]
    pairs = Pairs.of(counted)
    columns = pairs.best() if told_apart else pairs.namesakes()
    tracks = [pairs.tracks[column] if pairs.met[row, column] else None for row, column in enumerate(columns)]
    switches = id_switches((each.objects.tolist(), _keys(each), each.region.values) for each in counted)
    shown, classes = Counter(number for each in counted for number in each.objects.tolist()), _classes(counted)
    objects = (
        ClipObject(
            number=number if told_apart else None,
            class_id=classes[number],
            track=None if track is None or not told_apart or track[0] != ANYWHERE else track[1],
            frames=shown[number],
            j=float(pairs.j[row, columns[row]]),
            f=float(pairs.f[row, columns[row]]),
            id_switches=switches[number] if told_apart else None,
        )
        for row, (number, track) in enumerate(zip(pairs.objects, tracks))
    )
    return ClipScore(
        name=name,
        frames=len(counted),
        left_out=len(frames) - len(counted),
        told_apart=told_apart,
        objects=tuple(objects),
        tracks=len(pairs.tracks),
        surplus=len(pairs.tracks) - sum(track is not None for track in tracks),
        untracked=sum(place != ANYWHERE for place, _ in pairs.tracks),
    )


@dataclass(frozen=True)
class Pairs:
    """How well each of M true objects of a clip agrees with each of N tracks over all frames.

    Attributes:
        objects: M numbers, ascending.
        tracks: N names, ascending.
        j, f: (M, N + M) float64 means over the frames; the last M columns are for tracks that never show.
        met: (M, N + M) bool: those that overlap in a frame.
    """

    objects: list[int]
    tracks: list[TrackKey]
    j: np.ndarray
    f: np.ndarray
    met: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[FrameScore]) -> Pairs:
        """Those of all objects and tracks in the frames."""
        objects = sorted({number for frame in frames for number in frame.objects.tolist()})
        tracks = sorted({key for frame in frames for key in _keys(frame)})
        shape = len(objects), len(tracks) + len(objects)
        row, column = ({name: i for i, name in enumerate(names)} for names in (objects, tracks))
        places = [
            ([row[each] for each in frame.objects.tolist()], [column[each] for each in _keys(frame)])
            for frame in frames
        ]
        regions, contours = ([getattr(frame, name) for frame in frames] for name in ("region", "contour"))
        j, f = _means(regions, places, shape), _means(contours, places, shape)
        met = np.zeros(shape, bool)
        for region, place in zip(regions, places):
            met[np.ix_(*place)] |= region.values > 0
        return cls(objects, tracks, j, f, met)

    def best(self) -> list[int]:
        """The column of each object's track; objects that are more than the tracks have one that never shows."""
        from scipy.optimize import linear_sum_assignment

        columns = max(len(self.objects), len(self.tracks))
        return linear_sum_assignment((self.j + self.f)[:, :columns], maximize=True)[1].tolist()

    def namesakes(self) -> list[int]:
        """The column of the track with each object's number, or of one that never shows."""
        place = {number: column for column, (_, number) in enumerate(self.tracks)}
        return [place.get(number, len(self.tracks)) for number in self.objects]


Places = tuple[list[int], list[int]]
"""Rows and columns of a clip's pairs that a frame's objects and tracks have."""


def _means(agreements: Sequence[Agreement], places: Sequence[Places], shape: tuple[int, int]) -> np.ndarray:
    """The (M, N) mean over frames; 1 counts where neither has anything to compare, 0 where only one has."""
    sums, together = np.zeros((2, *shape))
    true, found = (np.zeros(count) for count in shape)
    for each, (rows, columns) in zip(agreements, places):
        sums[np.ix_(rows, columns)] += each.values
        together[np.ix_(rows, columns)] += np.outer(each.true, each.found)
        true[rows] += each.true
        found[columns] += each.found
    neither = len(agreements) - true[:, None] - found + together
    return (sums + neither) / len(agreements)


def _keys(frame: FrameScore) -> list[TrackKey]:
    """What the found objects of a frame are called; those without a track id are in no other frame."""
    place = frame.frame.index if frame.told_apart and not frame.tracked else ANYWHERE
    return [(place, number) for number in frame.tracks.tolist()]


def _classes(frames: Sequence[FrameScore]) -> dict[int, int]:
    """The class id that most pixels of each object have; of several the lowest."""
    pixels = Counter[tuple[int, int]]()
    for frame in frames:
        pixels.update(dict(zip(zip(frame.objects.tolist(), frame.class_ids.tolist()), frame.areas.tolist())))
    ascending = sorted(pixels, key=lambda pair: (pixels[pair], -pair[1]))
    return dict(ascending)
