"""Clips become instances with track ids, whatever the batches are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.postprocessing import CleanedCascade
from models.sam2_video import Propagator
from models.segmenter import Segmenter
from models.transfer import BoxMasks
from models.video_cascade import VideoCascade
from tests.helpers.track import BOXES, moving, random_model
from utils.config import CleanupConfig, VideoConfig
from utils.distributed import Session
from utils.engine import _results_by_batch
from utils.errors import RunError, SampleError
from utils.masks import Mask
from utils.structures import Detections, Frame, Instances, Sample

EVERY = VideoConfig(keyframe_interval=1, patience=2)
HERE, THERE = (2.0, 2.0, 12.0, 12.0), (30.0, 2.0, 40.0, 12.0)
BESIDE = (4.5, 2.0, 14.5, 12.0)
"""Overlaps HERE by 75 / 125."""
NOTHING = Mask(0, 0, np.zeros((0, 0), bool))


def samples(clip: str, count: int, images: Sequence[np.ndarray] | None = None) -> list[Sample]:
    images = images or [np.zeros((20, 50, 3), np.uint8)] * count
    return [
        Sample(f"{clip}/{i}", Path(f"{clip}/{i}.png"), image, frame=Frame(clip, i, count))
        for i, image in enumerate(images)
    ]


class Boxes:
    """A detector with boxes (x1 y1 x2 y2), a class and a score for each frame of each clip."""

    def __init__(self, *frames: Sequence[tuple[Sequence[float], int, float]]) -> None:
        self.frames, self.asked = frames, []

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        self.asked.append([sample.frame.index for sample in samples])
        found = [list(self.frames[sample.frame.index % len(self.frames)]) for sample in samples]
        return [
            Detections.from_arrays([e[0] for e in each], [e[2] for e in each], [e[1] for e in each]) for each in found
        ]

    def summary_lines(self, session: Session) -> list[str]:
        return ["boxes"]


def filled(box: np.ndarray) -> Mask:
    full = np.zeros((20, 50), bool)
    left, top, right, bottom = box.astype(int)
    full[top:bottom, left:right] = True
    return Mask.from_array(full)


class Filling:
    """A segmenter whose masks are filled boxes."""

    def launch_encoded(self, backbone: object, size: tuple[int, int], boxes: np.ndarray) -> list[BoxMasks]:
        return [BoxMasks([filled(box) for box in boxes], np.ones(len(boxes), np.float32))]

    max_batch = 63

    def use_more_memory(self) -> None:
        """Has nothing to change."""

    def use_less_memory(self, images: int, reason: str) -> None:
        raise AssertionError(reason)

    def collect(self, pending: list[BoxMasks]) -> list[BoxMasks]:
        return pending

    def summary_lines(self) -> list[str]:
        return ["masks"]


class FakePropagator:
    """A propagator whose objects stay where they were prompted, but for frames on which they hide.

    On the frame `blind` prompts show nothing.
    """

    def __init__(
        self, hidden: Sequence[int] = (), room: int = 99, blind: int | None = None, stuck: bool = False
    ) -> None:
        self.stuck = stuck
        self.hidden, self.room, self.blind, self.begun, self.ended = hidden, room, blind, [], []

    def reset(self, size: tuple[int, int], count: int) -> None:
        self.begun.append((size, count))
        self.masks: dict[int, Mask] = {}

    def encode(self, images: Sequence[np.ndarray]) -> list[None]:
        return [None] * len(images)

    def step(self, index: int, backbone: None) -> dict[int, tuple[Mask, float]]:
        if index >= self.room:
            raise torch.OutOfMemoryError("no room")
        self.index = index
        return {i: (NOTHING if index in self.hidden else mask, 0.5) for i, mask in self.masks.items()}

    def add_boxes(self, boxes: dict[int, np.ndarray]) -> dict[int, tuple[Mask, float]]:
        self.masks |= {i: NOTHING if self.index == self.blind else filled(box) for i, box in boxes.items()}
        return {i: (self.masks[i], 0.75) for i in boxes}

    def use_more_memory(self) -> None:
        """Has nothing to change."""

    def use_less_memory(self, images: int, reason: str) -> None:
        if self.stuck:
            raise RunError(f"too little memory ({reason})")
        self.room = 99

    def remove(self, track_id: int) -> None:
        self.ended.append(track_id)
        del self.masks[track_id]


def cascade_of(boxes: Boxes, settings: VideoConfig, **how: object) -> VideoCascade:
    return VideoCascade(boxes, Filling(), FakePropagator(**how), settings)


def shown(found: Iterator[tuple[Sample, Instances]]) -> list[dict[int, tuple[int, float, list[float], float]]]:
    """Class, score, box and mask score by track id, frame by frame."""
    return [
        {
            int(i): (int(d.class_ids[k]), round(float(d.scores[k]), 3), d.boxes[k].tolist(), float(each.mask_scores[k]))
            for k, i in enumerate(each.track_ids)
            for d in [each.detections]
        }
        for _, each in found
    ]


def test_a_track_has_the_class_voted_for_the_latest_score_and_its_own_box() -> None:
    inside = (2.5, 2.5, 12.0, 12.0)  # of the same pixels, filled
    boxes = Boxes([(HERE, 1, 0.5)], [(THERE, 2, 0.9)], [(inside, 0, 0.6), (THERE, 2, 0.25)], [])
    assert shown(cascade_of(boxes, EVERY)(samples("a", 4))) == [
        {1: (1, 0.5, [*HERE], 0.75)},
        {1: (1, 0.5, [*HERE], 0.5), 2: (2, 0.9, [*THERE], 0.75)},
        {1: (0, 0.6, [*HERE], 0.5), 2: (2, 0.25, [*THERE], 0.5)},
        {1: (0, 0.6, [*HERE], 0.5), 2: (2, 0.25, [*THERE], 0.5)},
    ]


def test_boxes_of_prompts_are_the_detectors_and_ids_survive_corrections() -> None:
    cascade = cascade_of(Boxes([(HERE, 1, 0.5)], [(BESIDE, 1, 0.5)], [(BESIDE, 1, 0.5)]), EVERY)
    assert shown(cascade(samples("a", 3))) == [
        {1: (1, 0.5, [*HERE], 0.75)},
        {1: (1, 0.5, [*BESIDE], 0.75)},
        {1: (1, 0.5, [4, 2, 14, 12], 0.5)},
    ]
    assert cascade.summary_lines(Session()) == [
        "boxes",
        "masks",
        "video: boxes were looked for on 3 keyframes of 3 frames",
        "video: 1 track found, 1 time corrected, 0 ended before their clips did",
    ]


def test_tracks_without_detections_end_and_hidden_ones_are_not_shown() -> None:
    boxes = Boxes([(HERE, 1, 0.5), (THERE, 0, 0.5)], *[[(THERE, 0, 0.5)]] * 4)
    cascade = cascade_of(boxes, EVERY, hidden=[4])
    assert [set(frame) for frame in shown(cascade(samples("a", 5)))] == [{1, 2}, {1, 2}, {2}, {2}, {3}]
    assert cascade.propagator.ended == [1]
    assert (
        cascade.summary_lines(Session())[-1]
        == "video: 3 tracks found, 0 times corrected, 1 ended before their clips did"
    )


def test_boxes_with_an_empty_mask_start_nothing_and_are_counted() -> None:
    cascade = cascade_of(Boxes([((2.2, 2.2, 2.8, 2.8), 0, 0.9), (HERE, 1, 0.5)]), VideoConfig(keyframe_interval=0))
    assert [set(frame) for frame in shown(cascade(samples("a", 2)))] == [{1}, {1}]
    line = "video: boxes in which SAM2 sees no object, left out: 1"
    assert cascade.summary_lines(Session())[3] == line


def test_a_second_box_of_an_object_with_a_track_is_counted() -> None:
    cascade = cascade_of(Boxes([(HERE, 1, 0.5)], [(HERE, 1, 0.9), (HERE, 1, 0.4)]), EVERY)
    assert [set(frame) for frame in shown(cascade(samples("a", 2)))] == [{1}, {1}]
    assert "video: further boxes of objects that have a track already, left out: 1" in cascade.summary_lines(Session())


def test_a_track_whose_prompt_gives_an_empty_mask_ends_at_once() -> None:
    boxes = Boxes([(HERE, 1, 0.5)], [(BESIDE, 1, 0.5), (THERE, 0, 0.5)], [(BESIDE, 1, 0.5), (THERE, 0, 0.5)])
    cascade = cascade_of(boxes, EVERY, blind=1)
    assert [set(frame) for frame in shown(cascade(samples("a", 3)))] == [{1}, set(), {3, 4}]
    assert cascade.propagator.ended == [1, 2]
    assert cascade.summary_lines(Session())[3:] == [
        "video: boxes in which SAM2 sees no object, left out: 1",
        "video: 3 tracks found, 1 time corrected, 1 ended before their clips did",
    ]


def test_a_line_explains_why_tracks_end_if_only_first_frames_have_boxes() -> None:
    cascade = cascade_of(Boxes([(HERE, 1, 0.5)], [], []), EVERY)
    assert [set(frame) for frame in shown(cascade(samples("a", 3)))] == [{1}, {1}, set()]
    assert cascade.summary_lines(Session())[-1] == (
        "video: no track had a second box; if only first frames have boxes, --keyframe-interval 0 keeps all tracks"
    )


def test_no_track_survives_its_clip() -> None:
    boxes = Boxes([(HERE, 1, 0.5)], [], [], [])
    cascade = cascade_of(boxes, VideoConfig(keyframe_interval=3))
    frames = [*samples("a", 4), *samples("b", 2)]
    assert [set(frame) for part in (frames[:4], frames[4:]) for frame in shown(cascade(part))] == [{1}] * 6
    assert cascade.propagator.begun == [((20, 50), 4), ((20, 50), 2)]
    assert boxes.asked == [[0, 3], [0]]


def test_boxes_are_detected_on_keyframes_or_the_next_usable_frame() -> None:
    boxes = Boxes([(HERE, 1, 0.5)])
    cascade = cascade_of(boxes, VideoConfig(keyframe_interval=4))
    clip = samples("a", 16)
    usable = [sample for i, sample in enumerate(clip) if i not in (0, 4, 5)]
    for start in range(0, len(usable), 3):
        list(cascade(usable[start : start + 3]))
    list(cascade([]))
    assert boxes.asked == [[1], [6, 8], [12]]


def test_a_batch_waits_for_the_one_before() -> None:
    cascade, clip = cascade_of(Boxes([(HERE, 1, 0.5)], []), EVERY), samples("a", 4)
    first, second = cascade(clip[:2]), cascade(clip[2:])
    with pytest.raises(AssertionError, match="the batch before"):
        next(second)
    assert [set(frame) for frame in shown(first)] == [{1}, {1}]


def test_a_frame_for_which_memory_is_out_is_repeated_with_fewer_tracks_at_a_time() -> None:
    boxes = [[(HERE, 1, 0.5)], [(HERE, 1, 0.5)], [(HERE, 1, 0.5)]]
    expected = shown(cascade_of(Boxes(*boxes), EVERY)(samples("a", 3)))
    assert shown(cascade_of(Boxes(*boxes), EVERY, room=1)(samples("a", 3))) == expected
    with pytest.raises(RunError, match="no room"):
        list(cascade_of(Boxes([]), EVERY, room=1, stuck=True)(samples("a", 2)))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return random_model()


def followed(model: torch.nn.Module, batches: Sequence[Sequence[Sample | SampleError]]) -> list[Instances]:
    """What the engine gets from real models with boxes on every third frame, cleaned."""
    boxes = Boxes([(box, i, 0.5 + 0.1 * i) for i, box in BOXES.items()], [], [])
    segmenter = Segmenter(model, torch.float32, 2**30)
    settings = VideoConfig(keyframe_interval=3, match_iou=0.1, correct_iou=0.1)
    cascade = VideoCascade(boxes, segmenter, Propagator(model, torch.float32), settings)
    cleaned = CleanedCascade(cascade, CleanupConfig(smallest_part=2))
    return [instances for _, outcomes in _results_by_batch(cleaned, batches, 1) for _, instances in outcomes]


def test_instances_do_not_depend_on_the_batches(model: torch.nn.Module) -> None:
    clip = samples("a", 7, moving(7))
    whole = followed(model, [clip])
    cut = followed(model, [clip[:1], [SampleError("x", Path("x"), "broken")], clip[1:3], clip[3:]])
    assert len(whole) == len(cut) == 7
    for a, b in zip(whole, cut):
        np.testing.assert_array_equal(a.track_ids, b.track_ids)
        np.testing.assert_array_equal(a.detections.class_ids, b.detections.class_ids)
        np.testing.assert_allclose(a.mask_scores, b.mask_scores, atol=1e-4)
        assert np.mean([x.to_full(a.size) == y.to_full(a.size) for x, y in zip(a.masks, b.masks)]) > 0.999
    assert all(instances.track_ids.dtype == np.int64 and len(instances) for instances in whole)


def test_the_first_frame_has_the_masks_of_a_single_image(model: torch.nn.Module) -> None:
    clip = samples("a", 1, moving(1))
    (ours,) = followed(model, [clip])
    boxes = np.array([*BOXES.values()], np.float32)
    (theirs,) = Segmenter(model, torch.float32, 2**30)([clip[0].image], [boxes])
    np.testing.assert_allclose(ours.mask_scores, theirs.scores, atol=1e-5)
    np.testing.assert_array_equal(ours.detections.boxes, boxes)
    assert len(ours.masks) == len(theirs.masks) == 2
    assert np.mean([x.to_full(ours.size) == y.to_full(ours.size) for x, y in zip(ours.masks, theirs.masks)]) > 0.999
