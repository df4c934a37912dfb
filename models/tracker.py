"""Which detection belongs to which track, what class a track has, and when one begins and ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.config import VideoConfig
from utils.masks import Mask, mask_iou
from utils.matching import match_best_total
from utils.structures import Instances

SAME_CLASS_BONUS = 0.1
"""What a pair of one class counts more than its IoU: where two detections lie on one object, each stays with its own
track, though their masks differ by some pixels."""


@dataclass
class Track:
    """One object through a clip.

    Attributes:
        score: that of its latest detection.
        missed: keyframes in a row on which no detection was its own.
        votes: the sum of the scores of its detections, by class id.
    """

    score: float = 0.0
    misses: int = 0
    votes: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def class_id(self) -> int:
        """The class with the most votes; of equal ones the lowest."""
        return min(self.votes, key=lambda class_id: (-self.votes[class_id], class_id))

    def confirm(self, score: float, class_id: int) -> None:
        """Takes note of a detection."""
        self.score, self.misses = score, 0
        self.votes[class_id] += score


@dataclass(frozen=True)
class KeyframeUpdate:
    """What a keyframe brings.

    Attributes:
        started: positions of the detections that start a track, by the track's id.
        corrected: positions of the detections from which a track that drifted starts anew, by its id.
        ended: ids of the tracks that were missed too often.
        empty: detections without a mask, which belong to no track and start none.
        doubled: further detections of objects that have a track already, which start none.
    """

    started: dict[int, int]
    corrected: dict[int, int]
    ended: list[int]
    empty: int
    duplicates: int


class TrackManager:
    """The tracks of one clip. Their ids count from 1 in the order in which they begin, and none comes twice.

    Attributes:
        live: those that go on, by their ids.
    """

    def __init__(self, settings: VideoConfig) -> None:
        self.live: dict[int, Track] = {}
        self._settings, self._latest_id = settings, 0

    def keyframe(self, masks: Mapping[int, Mask], found: Instances) -> KeyframeUpdate:
        """Confirms, corrects, starts and ends tracks by what the detector found.

        Args:
            masks: of all live tracks on the frame, by their ids; empty ones match nothing.
            found: the detections of the frame with the masks that SAM2 gives to their boxes.
        """
        ids = list(self.live)
        classes = np.array([track.class_id for track in self.live.values()], np.int64)
        overlaps = mask_iou([masks[track_id] for track_id in ids], found.masks)
        tracks, places = pairs(overlaps, classes, found.detections.class_ids, self._settings.match_iou)
        rest = sorted({*range(len(found))} - {*places.tolist()})
        # Masks of two objects hardly overlap, so what lies on a track of its class shows the same object once more.
        same = classes[:, None] == found.detections.class_ids
        again = same & (overlaps >= self._settings.match_iou) & (overlaps > 0)
        duplicates = {place for place in rest if again[:, place].any()}
        turn = KeyframeUpdate({}, {}, [], sum(not mask.crop.size for mask in found.masks), len(duplicates))
        for track in self.live.values():
            track.misses += 1
        for i, place in zip(tracks.tolist(), places.tolist()):
            self._confirm(ids[i], found, place)
            if overlaps[i, place] < self._settings.correct_iou:
                turn.corrected[ids[i]] = place
        turn.ended.extend(i for i, track in self.live.items() if track.misses >= self._settings.patience)
        for track_id in turn.ended:
            del self.live[track_id]
        for place in rest:
            if found.masks[place].crop.size and place not in duplicates:
                self._latest_id += 1
                self._confirm(self._latest_id, found, place)
                turn.started[self._latest_id] = place
        return turn

    def end(self, track_id: int) -> None:
        """Ends a track that cannot be followed."""
        del self.live[track_id]

    def _confirm(self, track_id: int, found: Instances, place: int) -> None:
        detections = found.detections
        track = self.live.setdefault(track_id, Track())
        track.confirm(float(detections.scores[place]), int(detections.class_ids[place]))


def pairs(
    overlaps: np.ndarray, track_classes: np.ndarray, class_ids: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a track and a detection, each in one pair at most, chosen so that their IoU is the largest in total.

    Args:
        overlaps: (N, M) IoU of tracks and detections.
        track_classes: (N,) int64.
        class_ids: (M,) int64. A pair of one class counts SAME_CLASS_BONUS more.
        least: what overlaps less is no pair, nor is what overlaps nowhere.

    Returns:
        the positions of the paired tracks and detections, (P,) int64 each, those of the tracks ascending.
    """
    same_class = track_classes[:, None] == class_ids
    return match_best_total(overlaps + SAME_CLASS_BONUS * same_class, (overlaps >= least) & (overlaps > 0))


def keyframes(indices: Sequence[int], last: int | None, interval: int) -> list[int]:
    """Which frames of a batch are keyframes.

    Args:
        indices: the usable frames' positions in the clip, ascending.
        latest: the keyframe before them, or None if they are the clip's first ones.
        interval: the first of every so many positions is one, or the first that can be used there, so one that cannot
            moves no other; 0: only the first frame is one.

    Returns:
        those of the indices.
    """
    chosen = []
    for index in indices:
        if last is None or (interval and index // interval > last // interval):
            chosen.append(index)
            last = index
    return chosen
