"""Tracks: who belongs to whom, what class, when one begins and ends."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.tracker import SAME_CLASS_BONUS, KeyframeUpdate, Track, TrackManager, match_tracks, select_keyframes
from utils.config import VideoConfig
from utils.masks import Mask, mask_iou
from utils.structures import Instances

SIZE = (20, 60)


def square(left: int, side: int = 10) -> Mask:
    return Mask(left, 5, np.ones((side, side), bool))


NOTHING = Mask(0, 0, np.zeros((0, 0), bool))


def found(*entries: tuple[Mask, int, float]) -> Instances:
    """Detections with a mask, a class id and a score each."""
    masks, class_ids, scores = zip(*entries) if entries else ((), (), ())
    return Instances.from_masks(SIZE, class_ids, masks, scores, scores)


def best_total(overlaps: np.ndarray, same: np.ndarray, least: float) -> float:
    """The largest total of all ways to pair rows with columns."""
    gain = np.where((overlaps >= least) & (overlaps > 0), overlaps + SAME_CLASS_BONUS * same, 0)
    if gain.shape[0] > gain.shape[1]:
        gain = gain.T
    rows = range(gain.shape[0])
    return max(sum(gain[i, j] for i, j in zip(rows, order)) for order in permutations(range(gain.shape[1]), len(rows)))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 3), (4, 4), (0, 3), (3, 0)])
def test_matches_maximize_the_total_overlap(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        overlaps = rng.uniform(0, 1, shape) * (rng.uniform(0, 1, shape) < 0.7)
        tracks, detections = rng.integers(0, 2, shape[0]), rng.integers(0, 2, shape[1])
        first, second = match_tracks(overlaps, tracks, detections, 0.3)
        same = tracks[:, None] == detections
        total = (overlaps + SAME_CLASS_BONUS * same)[first, second].sum()
        assert total == pytest.approx(best_total(overlaps, same, 0.3))
        assert (overlaps[first, second] >= 0.3).all()
        assert len({*first.tolist()}) == len({*second.tolist()}) == len(first)
        assert first.tolist() == sorted(first.tolist())


def test_two_detections_of_one_object_stay_with_the_tracks_of_their_classes() -> None:
    overlaps = np.array([[0.93, 0.96], [0.95, 0.9]])
    first, second = match_tracks(overlaps, np.array([0, 1]), np.array([0, 1]), 0.5)
    assert list(zip(first, second)) == [(0, 0), (1, 1)]
    first, second = match_tracks(overlaps, np.array([0, 0]), np.array([0, 0]), 0.5)
    assert list(zip(first, second)) == [(0, 1), (1, 0)]


def test_masks_without_overlap_are_not_matched_even_if_min_iou_is_zero() -> None:
    first, _ = match_tracks(np.zeros((2, 2)), np.array([0, 1]), np.array([0, 1]), 0)
    assert len(first) == 0


def test_mask_iou_equals_that_of_full_masks() -> None:
    rng = np.random.default_rng(1)
    full = [rng.uniform(0, 1, SIZE) < 0.02 for _ in range(5)] + [np.zeros(SIZE, bool)]
    masks = [Mask.from_array(each) for each in full]
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in full[2:]] for a in full]
    np.testing.assert_allclose(mask_iou(masks, masks[2:]), expected)
    assert mask_iou([], masks).shape == (0, 6)


def test_a_track_has_the_class_with_the_largest_sum_of_scores_and_the_lower_of_a_tie() -> None:
    track = Track()
    for score, class_id, so_far in [(0.5, 4, 4), (0.5, 2, 2), (0.25, 4, 4), (0.25, 3, 4), (0.25, 2, 2)]:
        track.confirm(score, class_id)
        assert track.class_id == so_far
    assert track.score == 0.25
    unsure = Track()
    unsure.confirm(0.0, 3)
    assert unsure.class_id == 3


def test_detections_start_confirm_and_correct() -> None:
    tracks = TrackManager(VideoConfig(match_iou=0.5, correct_iou=0.7))
    assert tracks.update({}, found((square(0), 1, 0.9), (square(40), 0, 0.8))) == KeyframeUpdate(
        {1: 0, 2: 1}, {}, [], 0, 0
    )
    masks = {1: square(3), 2: square(40)}  # the first one drifted by 3 of 10 pixels: 70 / 130
    update = tracks.update(masks, found((square(20), 0, 0.3), (square(40), 1, 0.6), (square(0), 1, 0.7)))
    assert update == KeyframeUpdate({3: 0}, {1: 2}, [], 0, 0)
    assert {i: (track.class_id, track.score) for i, track in tracks.live.items()} == {
        1: (1, pytest.approx(0.7)),
        2: (0, pytest.approx(0.6)),
        3: (0, pytest.approx(0.3)),
    }


def test_a_second_box_on_an_object_starts_no_track_unless_it_is_of_another_class() -> None:
    tracks = TrackManager(VideoConfig())
    tracks.update({}, found((square(0), 1, 0.9)))
    update = tracks.update({1: square(0)}, found((square(1), 1, 0.4), (square(0), 1, 0.8), (square(2), 0, 0.7)))
    assert (update.started, update.duplicates) == ({2: 2}, 1)
    assert tracks.live[1].score == pytest.approx(0.8)
    assert tracks.update({1: square(0), 2: square(0)}, found((square(30), 1, 0.5))).started == {3: 0}


def test_a_track_ends_after_enough_misses_in_a_row_and_its_id_is_not_used_again() -> None:
    tracks = TrackManager(VideoConfig(patience=2))
    seen, nothing = found((square(0), 0, 0.9)), found()
    ended = []
    for detections in (seen, nothing, seen, nothing, nothing):
        ended.append(tracks.update({i: square(0) for i in tracks.live}, detections).ended)
    assert ended == [[], [], [], [], [1]]
    assert not tracks.live
    assert tracks.update({}, seen).started == {2: 0}


def test_a_hidden_track_matches_nothing_and_an_empty_mask_starts_nothing() -> None:
    tracks = TrackManager(VideoConfig(match_iou=0))
    tracks.update({}, found((square(0), 0, 0.9)))
    update = tracks.update({1: NOTHING}, found((NOTHING, 0, 0.9), (square(0), 0, 0.9)))
    assert update == KeyframeUpdate({2: 1}, {}, [], 1, 0)
    assert tracks.live[1].misses == 1


@pytest.mark.parametrize(
    "indices, last, interval, expected",
    [
        ([0, 1, 2, 3, 4, 5, 6], None, 3, [0, 3, 6]),
        ([7, 8, 9], 6, 3, [9]),
        ([2, 5, 6, 7, 9], None, 3, [2, 5, 6, 9]),  # frames 0, 1, 3, 4 and 8 cannot be used
        ([8, 10, 11], 3, 3, [8, 10]),
        ([0, 1, 2], None, 1, [0, 1, 2]),
        ([1, 2, 3], None, 0, [1]),
        ([4, 5], 1, 0, []),
    ],
)
def test_unusable_frames_do_not_shift_later_keyframes(
    indices: list[int], last: int | None, interval: int, expected: list[int]
) -> None:
    assert select_keyframes(indices, last, interval) == expected
