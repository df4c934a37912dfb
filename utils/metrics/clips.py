"""Measures of clips: J and F of each object over time, and id switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from utils.matching import match_best_total
from utils.metrics.davis import FrameScore, PairScores
from utils.metrics.segmentation import nanmean

MEASURES = ("J_and_F", "J", "F")


@dataclass(frozen=True)
class ClipObject:
    """A true object through a clip.

    Attributes:
        number: in SegmentationObject; None where a class stands for one object.
        class_id: that of most of its pixels.
        track: the track id of its track; None where no track is its, or where classes stand for tracks.
        frames: how many frames show it.
        j, f: means over all frames of the clip, from 0 to 1.
        id_switches: None where objects are not told apart.
    """

    number: int | None
    class_id: int
    track: int | None
    frames: int
    j: float
    f: float
    id_switches: int | None

    @property
    def measures(self) -> dict[str, float]:
        """J, F and their mean, by the names that files give them."""
        return dict(zip(MEASURES, ((self.j + self.f) / 2, self.j, self.f)))


@dataclass(frozen=True)
class ClipScore:
    """A clip.

    Attributes:
        name: of the clip.
        frames: those that count.
        has_instance_ids: whether the dataset tells the objects of a class apart; if not, a class stands for one object.
        left_out: those in which objects are not told apart, although they are in others of the clip.
        objects: in the order of their numbers.
        tracks: found ones; classes where objects are not told apart.
        surplus: of these, those that are no object's.
        untracked: found objects without a track id, each of which counts as a track of its own.
    """

    name: str
    frames: int
    left_out: int
    has_instance_ids: bool
    objects: tuple[ClipObject, ...]
    tracks: int
    surplus: int
    untracked: int

    @property
    def measures(self) -> dict[str, float]:
        """The means of the objects, by the names that files give them; NaN without any."""
        return mean_measures([each.measures for each in self.objects])

    @property
    def id_switches(self) -> int | None:
        """Of all objects; None where they are not told apart."""
        return sum(each.id_switches or 0 for each in self.objects) if self.has_instance_ids else None


@dataclass(frozen=True)
class AllClips:
    """All clips of an evaluation, at least one.

    Attributes:
        clips: in the order of their names.
    """

    clips: tuple[ClipScore, ...]

    @property
    def measures(self) -> dict[str, float]:
        """The means of the clips, by the names that files give them; NaN where no clip has an object."""
        return mean_measures([each.measures for each in self.clips])

    @property
    def id_switches(self) -> int | None:
        """Of all clips whose objects are told apart; None where there is none."""
        known = [each.id_switches for each in self.clips if each.id_switches is not None]
        return sum(known) if known else None

    def total(self, count: str) -> int:
        """The sum of a count of the clips, by its attribute's name."""
        return sum(getattr(each, count) for each in self.clips)

    def worst_first(self) -> list[ClipScore]:
        """The clips, those of the lowest mean of J and F first; those without objects last."""
        return sorted(self.clips, key=lambda each: np.nan_to_num(each.measures["J_and_F"], nan=np.inf))


def mean_measures(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure, what is NaN left out."""
    return {name: float(nanmean(np.array([each[name] for each in measures]))) for name in MEASURES}


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
    free, kept = ious >= MATCH, dict[int, int]()
    for row, column in enumerate(before):
        if column is not None and free[row, column]:
            kept[row] = column
            free[row] = free[:, column] = False
    rows, columns = match_best_total(ious, free)
    return [*kept.items(), *zip(rows.tolist(), columns.tolist())]


ALL_FRAMES = -1

TrackKey = tuple[int, int]
"""What a track is called in its clip: the only frame that it can be in, or ANYWHERE, and its number."""


def clip_scores(frames: Iterable[FrameScore]) -> tuple[ClipScore, ...]:
    """The clips in the order of their names; the frames may come in any order."""
    ordered = sorted(frames, key=lambda each: (each.frame.clip, each.frame.index))
    return tuple(clip_score(name, [*group]) for name, group in groupby(ordered, lambda each: each.frame.clip))


def clip_score(name: str, frames: Sequence[FrameScore]) -> ClipScore:
    """One clip; its frames in order, at least one."""
    has_instance_ids = any(each.has_instance_ids for each in frames)
    counted = [each for each in frames if each.has_instance_ids == has_instance_ids]
    pairs = Pairs.from_frames(counted)
    columns = pairs.best() if has_instance_ids else pairs.same_id()
    tracks = [pairs.tracks[column] if pairs.met[row, column] else None for row, column in enumerate(columns)]
    switches = id_switches((each.objects.tolist(), _keys(each), each.region.values) for each in counted)
    shown, classes = Counter(number for each in counted for number in each.objects.tolist()), _classes(counted)
    objects = (
        ClipObject(
            number=number if has_instance_ids else None,
            class_id=classes[number],
            track=None if track is None or not has_instance_ids or track[0] != ALL_FRAMES else track[1],
            frames=shown[number],
            j=float(pairs.j[row, columns[row]]),
            f=float(pairs.f[row, columns[row]]),
            id_switches=switches[number] if has_instance_ids else None,
        )
        for row, (number, track) in enumerate(zip(pairs.objects, tracks))
    )
    return ClipScore(
        name=name,
        frames=len(counted),
        left_out=len(frames) - len(counted),
        has_instance_ids=has_instance_ids,
        objects=tuple(objects),
        tracks=len(pairs.tracks),
        surplus=len(pairs.tracks) - sum(track is not None for track in tracks),
        untracked=sum(place != ALL_FRAMES for place, _ in pairs.tracks),
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
    def from_frames(cls, frames: Sequence[FrameScore]) -> Pairs:
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
        columns = max(len(self.objects), len(self.tracks))
        return match_best_total((self.j + self.f)[:, :columns])[1].tolist()

    def same_id(self) -> list[int]:
        """The column of the track with each object's number, or of one that never shows."""
        place = {number: column for column, (_, number) in enumerate(self.tracks)}
        return [place.get(number, len(self.tracks)) for number in self.objects]


Places = tuple[list[int], list[int]]
"""Rows and columns of a clip's pairs that a frame's objects and tracks have."""


def _means(agreements: Sequence[PairScores], places: Sequence[Places], shape: tuple[int, int]) -> np.ndarray:
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
    place = frame.frame.index if frame.has_instance_ids and not frame.tracked else ALL_FRAMES
    return [(place, number) for number in frame.tracks.tolist()]


def _classes(frames: Sequence[FrameScore]) -> dict[int, int]:
    """The class id that most pixels of each object have; of several the lowest."""
    pixels = Counter[tuple[int, int]]()
    for frame in frames:
        pixels.update(dict(zip(zip(frame.objects.tolist(), frame.class_ids.tolist()), frame.areas.tolist())))
    ascending = sorted(pixels, key=lambda pair: (pixels[pair], -pair[1]))
    return dict(ascending)
