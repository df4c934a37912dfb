"""Scores of clips: J and F of each object over time (DAVIS), and id switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from utils.matching import match_best_total
from utils.metrics.davis import FrameScore, PairScores
from utils.metrics.segmentation import nanmean

CLIP_MEASURES = {"J_and_F": "J&F", "J": "J", "F": "F"}
"""Key of a measure in files -> heading of its column in console and report."""


@dataclass(frozen=True)
class ClipObject:
    """A true object through a clip.

    Attributes:
        number: in SegmentationObject; None where a class stands for one object.
        class_id: that of most of its pixels.
        track: id of the track matched to it; None where there is none, or where classes stand for tracks.
        frames: number of frames that show it.
        j, f: means over all frames of the clip, from 0 to 1.
        id_switches: None without instance ids.
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
        """J, F and their mean, by their keys in `CLIP_MEASURES`."""
        return dict(zip(CLIP_MEASURES, ((self.j + self.f) / 2, self.j, self.f)))


@dataclass(frozen=True)
class ClipScore:
    """The scores of a clip.

    Attributes:
        name: of the clip.
        frames: number of frames that count.
        left_out: frames without instance ids, although others of the clip have them.
        has_instance_ids: whether the dataset has a map of objects; if not, a class stands for one object.
        objects: in the order of their numbers.
        tracks: number of found tracks; of found classes without instance ids.
        false_tracks: of these, those that are matched to no object.
        without_track_id: found objects without a track id, each of which counts as a track of its own.
    """

    name: str
    frames: int
    left_out: int
    has_instance_ids: bool
    objects: tuple[ClipObject, ...]
    tracks: int
    false_tracks: int
    without_track_id: int

    @property
    def measures(self) -> dict[str, float]:
        """The means over the objects, by their keys in `CLIP_MEASURES`; NaN without any object."""
        return _mean_measures([each.measures for each in self.objects])

    @property
    def id_switches(self) -> int | None:
        """The sum over all objects; None without instance ids."""
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
        """The means over the clips, by their keys in `CLIP_MEASURES`; NaN where no clip has an object."""
        return _mean_measures([each.measures for each in self.clips])

    @property
    def id_switches(self) -> int | None:
        """The sum over all clips with instance ids; None where there are none."""
        known = [each.id_switches for each in self.clips if each.id_switches is not None]
        return sum(known) if known else None

    def total(self, count: str) -> int:
        """Sum up a count of the clips, given by the name of its attribute."""
        return sum(getattr(each, count) for each in self.clips)

    def worst_first(self) -> list[ClipScore]:
        """Sort the clips by J&F, the lowest first; those without objects come last."""
        return sorted(self.clips, key=lambda each: np.nan_to_num(each.measures["J_and_F"], nan=np.inf))


def _mean_measures(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(nanmean(np.array([each[name] for each in measures]))) for name in CLIP_MEASURES}


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
"""A track in its clip: the only frame that it can be in, or ALL_FRAMES, and its number."""


def clip_scores(frames: Iterable[FrameScore]) -> tuple[ClipScore, ...]:
    """Score the clips that frames, in any order, belong to; in the order of the clips' names."""
    ordered = sorted(frames, key=lambda each: (each.frame.clip, each.frame.index))
    return tuple(clip_score(name, [*group]) for name, group in groupby(ordered, lambda each: each.frame.clip))


def clip_score(name: str, frames: Sequence[FrameScore]) -> ClipScore:
    """Score one clip from its frames in order, at least one."""
    has_instance_ids = any(each.has_instance_ids for each in frames)
    counted = [each for each in frames if each.has_instance_ids == has_instance_ids]
    pairs = Pairs.from_frames(counted)
    columns = pairs.best() if has_instance_ids else pairs.same_id()
    # An object may be matched to a track that it never overlaps, for want of a better one; that is no track of its own.
    tracks = [pairs.tracks[column] if pairs.met[row, column] else None for row, column in enumerate(columns)]
    switches = id_switches((each.objects.tolist(), _keys(each), each.region.values) for each in counted)
    shown, classes = Counter(number for each in counted for number in each.objects.tolist()), _classes(counted)
    objects = tuple(
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
        objects=objects,
        tracks=len(pairs.tracks),
        false_tracks=len(pairs.tracks) - sum(track is not None for track in tracks),
        without_track_id=sum(place != ALL_FRAMES for place, _ in pairs.tracks),
    )


@dataclass(frozen=True)
class Pairs:
    """J and F of all pairs of M true objects and N tracks of a clip over all frames.

    Attributes:
        objects: M numbers, ascending.
        tracks: N keys, ascending.
        j, f: (M, N + M) float64 means over the frames; the last M columns are for tracks that never show.
        met: (M, N + M) bool: the pairs that overlap in a frame.
    """

    objects: list[int]
    tracks: list[TrackKey]
    j: npt.NDArray[np.float64]
    f: npt.NDArray[np.float64]
    met: npt.NDArray[np.bool_]

    @classmethod
    def from_frames(cls, frames: Sequence[FrameScore]) -> Pairs:
        """Average the scores of all objects and tracks that occur in the frames."""
        objects = sorted({number for frame in frames for number in frame.objects.tolist()})
        tracks = sorted({key for frame in frames for key in _keys(frame)})
        shape = len(objects), len(tracks) + len(objects)
        row, column = ({name: i for i, name in enumerate(names)} for names in (objects, tracks))
        places = [
            ([row[each] for each in frame.objects.tolist()], [column[each] for each in _keys(frame)])
            for frame in frames
        ]
        met = np.zeros(shape, bool)
        for frame, place in zip(frames, places):
            met[np.ix_(*place)] |= frame.region.values > 0
        j, f = (_means([getattr(frame, name) for frame in frames], places, shape) for name in ("region", "contour"))
        return cls(objects, tracks, j, f, met)

    def best(self) -> list[int]:
        """The column of each object's track; objects that are more than the tracks have one that never shows."""
        columns = max(len(self.objects), len(self.tracks))
        return match_best_total((self.j + self.f)[:, :columns])[1].tolist()

    def same_id(self) -> list[int]:
        """The column of the track with each object's number, or of one that never shows."""
        place = {number: column for column, (_, number) in enumerate(self.tracks)}
        return [place.get(number, len(self.tracks)) for number in self.objects]


def _means(
    scores: Sequence[PairScores], places: Sequence[tuple[list[int], list[int]]], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Average the scores of pairs over frames, (M, N).

    Args:
        scores: of each frame.
        places: the rows and columns of its objects and tracks.
        shape: (M, N).
    """
    sums, together = np.zeros((2, *shape))
    true, found = (np.zeros(count) for count in shape)
    for each, (rows, columns) in zip(scores, places):
        sums[np.ix_(rows, columns)] += each.values
        together[np.ix_(rows, columns)] += np.outer(each.true, each.found)
        true[rows] += each.true
        found[columns] += each.found
    # In a frame where neither has anything to compare a pair scores 1, as in DAVIS; where only one has, 0.
    neither = len(scores) - true[:, None] - found + together
    return (sums + neither) / len(scores)


def _keys(frame: FrameScore) -> list[TrackKey]:
    """Return the keys of the found objects of a frame; those without a track id are in no other frame."""
    place = frame.frame.index if frame.has_instance_ids and not frame.tracked else ALL_FRAMES
    return [(place, number) for number in frame.tracks.tolist()]


def _classes(frames: Sequence[FrameScore]) -> dict[int, int]:
    """Map each object to the class id that most of its pixels have; of several the lowest."""
    pixels = Counter[tuple[int, int]]()
    for frame in frames:
        pixels.update(dict(zip(zip(frame.objects.tolist(), frame.class_ids.tolist()), frame.areas.tolist())))
    # The last entry of an object stays in the dictionary: that of the most pixels.
    return dict(sorted(pixels, key=lambda pair: (pixels[pair], -pair[1])))
