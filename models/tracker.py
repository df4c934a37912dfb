"""Matching of detections to tracks, and when a track starts, is corrected and ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from utils.config import VideoConfig
from utils.masks import Mask, mask_iou
from utils.matching import match_best_total
from utils.structures import Instances

SAME_CLASS_BONUS = 0.1
"""Added to the IoU of a pair of one class: of two detections of one object, each then stays with the track of its class
even if the other one's mask fits better by a few pixels."""


@dataclass
class Track:
    """Hold one object through a clip.

    Attributes:
        score: score of its latest detection.
        misses: number of keyframes since then.
        votes: sum of the scores of its detections, by class id.
    """

    score: float = 0.0
    misses: int = 0
    votes: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def class_id(self) -> int:
        """Return the class with the most votes; the lowest of equal ones."""
        return min(self.votes, key=lambda class_id: (-self.votes[class_id], class_id))

    def confirm(self, score: float, class_id: int) -> None:
        """Add a detection."""
        self.score, self.misses = score, 0
        self.votes[class_id] += score


@dataclass(frozen=True)
class KeyframeUpdate:
    """Describe how the detections of a keyframe change the tracks.

    Attributes:
        started: positions of the detections that start a track, by the track's id.
        corrected: positions of the detections that replace the mask of a drifted track, by the track's id.
        ended: ids of the tracks that had no detection too often.
        empty: number of detections with an empty mask; they are ignored.
        duplicates: number of further detections of objects that have a track already; they are ignored.
    """

    started: dict[int, int]
    corrected: dict[int, int]
    ended: list[int]
    empty: int
    duplicates: int


class TrackManager:
    """Hold the tracks of one clip. Their ids count from 1 in the order in which they start; no id is used twice.

    Attributes:
        live: the tracks that have not ended, by id.
    """

    def __init__(self, settings: VideoConfig) -> None:
        self.live: dict[int, Track] = {}
        self._settings, self._latest_id = settings, 0

    def update(self, masks: Mapping[int, Mask], found: Instances) -> KeyframeUpdate:
        """Confirm, correct, start and end tracks by the detections of a keyframe.

        Args:
            masks: of all live tracks on the frame, by id; empty ones match nothing.
            found: the detections of the frame with their masks.
        """
        ids, min_iou = list(self.live), self._settings.match_iou
        classes = np.array([track.class_id for track in self.live.values()], np.int64)
        overlaps = mask_iou([masks[track_id] for track_id in ids], found.masks)
        tracks, places = match_tracks(overlaps, classes, found.detections.class_ids, min_iou)
        rest = sorted({*range(len(found))} - {*places.tolist()})
        # Masks of two objects hardly overlap: a detection on a track of its own class shows the same object again.
        same_class = classes[:, None] == found.detections.class_ids
        repeats = (same_class & (overlaps >= min_iou) & (overlaps > 0)).any(axis=0)
        duplicates = {place for place in rest if repeats[place]}
        empty = sum(not mask.shape[0] for mask in found.masks)
        update = KeyframeUpdate({}, {}, [], empty, len(duplicates))
        for track in self.live.values():
            track.misses += 1
        for i, place in zip(tracks.tolist(), places.tolist()):
            self._confirm(ids[i], found, place)
            if overlaps[i, place] < self._settings.correct_iou:
                update.corrected[ids[i]] = place
        update.ended.extend(i for i, track in self.live.items() if track.misses >= self._settings.patience)
        for track_id in update.ended:
            del self.live[track_id]
        for place in rest:
            if found.masks[place].shape[0] and place not in duplicates:
                self._latest_id += 1
                self._confirm(self._latest_id, found, place)
                update.started[self._latest_id] = place
        return update

    def end(self, track_id: int) -> None:
        """End a track."""
        del self.live[track_id]

    def _confirm(self, track_id: int, found: Instances, place: int) -> None:
        detections, track = found.detections, self.live.setdefault(track_id, Track())
        track.confirm(float(detections.scores[place]), int(detections.class_ids[place]))


def match_tracks(
    overlaps: npt.NDArray[np.float64],
    track_classes: npt.NDArray[np.int64],
    class_ids: npt.NDArray[np.int64],
    min_iou: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Match tracks to detections one to one so that the sum of their IoUs is largest (Hungarian algorithm).

    Args:
        overlaps: (N, M) IoU of tracks and detections.
        track_classes: (N,).
        class_ids: (M,) of the detections; a pair of one class counts SAME_CLASS_BONUS more.
        min_iou: pairs of a lower IoU, or of none, are not matched.

    Returns:
        positions of the matched tracks, ascending, and of their detections, (P,) each.
    """
    same_class = track_classes[:, None] == class_ids
    return match_best_total(overlaps + SAME_CLASS_BONUS * same_class, (overlaps >= min_iou) & (overlaps > 0))


def select_keyframes(indices: Sequence[int], last: int | None, interval: int) -> list[int]:
    """Select the keyframes of a batch: the first usable frame at or after each multiple of the interval.

    So a frame that cannot be used delays its own keyframe, but no later one.

    Args:
        indices: positions of the usable frames in the clip, ascending.
        last: the keyframe before them; None at the start of a clip.
        interval: in frames; 0: only the first frame is a keyframe.
    """
    chosen = []
    for index in indices:
        if last is None or (interval and index // interval > last // interval):
            chosen.append(index)
            last = index
    return chosen
