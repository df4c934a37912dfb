"""The cascade begins at once where a GPU works on its own, and goes on where the GPU's memory is out."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.cascade import ImageCascade, label_masks
from models.transfer import BoxMasks, Upload
from utils.distributed import Session
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample


@pytest.fixture(autouse=True)
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.device]]:
    """The threads that chose a GPU, by name, and which."""
    chosen: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: chosen.append((threading.current_thread().name, device))
    )
    return chosen


class Boxes:
    """A source of as many boxes as an image's first pixel says; they have different classes."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        counts = [int(sample.image[0, 0, 0]) for sample in samples]
        return [detections(count) for count in counts]

    def summary_lines(self, session: Session) -> list[str]:
        return ["boxes"]


def detections(count: int, offset: int = 0) -> Detections:
    places = np.arange(offset, offset + count)
    boxes = np.stack([places, places, places + 1, places + 1], axis=1)
    return Detections.from_arrays(boxes, np.linspace(0.1, 0.9, count), np.arange(count) % 3)


class Masks:
    """A segmenter with room for so many images at a time; a mask covers its box."""

    def __init__(self, device: str, room: int = 99) -> None:
        self.device, self.room = torch.device(device), room
        self.launched: list[int] = []

    def upload(self, images: Sequence[np.ndarray]) -> Upload:
        return Upload(images, torch.device("cpu"))

    def launch(
        self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], image_index: Sequence[int]
    ) -> list[BoxMasks]:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        assert sorted(image_index) == [*image_index] and set(image_index) == set(range(len(images)))
        self.launched.append(len(images))
        return [BoxMasks([covering(box) for box in each], each[:, 0] / 100) for each in boxes]

    def collect(self, pending: list[BoxMasks]) -> list[BoxMasks]:
        return pending

    def use_more_memory(self) -> None:
        """Has nothing to change."""

    def use_less_memory(self, images: int, reason: str) -> None:
        assert images > 1, "one image fits"

    def summary_lines(self) -> list[str]:
        return ["masks"]


def covering(box: np.ndarray) -> Mask:
    left, top, right, bottom = box.astype(int).tolist()
    return Mask(left, top, np.ones((bottom - top, right - left), bool))


def samples(count: int) -> list[Sample]:
    return [Sample(str(i), Path(f"{i}.png"), np.full((200, 200, 3), i, np.uint8)) for i in range(count)]


@pytest.mark.parametrize("device, at_once", [("mps", [3]), ("cuda", []), ("cpu", [])])
def test_a_gpu_begins_when_it_is_told_and_a_cpu_when_it_is_asked(device: str, at_once: list[int]) -> None:
    masks = Masks(device)
    found = ImageCascade(Boxes(), masks)(samples(3))
    assert masks.launched == at_once
    assert [(sample.image_id, len(instances)) for sample, instances in found] == [("0", 0), ("1", 1), ("2", 2)]
    assert masks.launched == [3]


def test_with_cuda_a_batch_begins_when_the_boxes_of_the_next_one_are_looked_for() -> None:
    masks, seen, asked = Masks("cuda"), [], threading.Event()

    class Noted(Boxes):
        def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
            seen.append((len(samples), threading.current_thread() is threading.main_thread()))
            if len(samples) == 4:
                assert asked.wait(60), "the host has gone on meanwhile"
            return super().__call__(samples)

    cascade = ImageCascade(Noted(), masks)
    first = cascade(samples(3))
    second = cascade(samples(4))
    assert masks.launched == [3], "though the boxes of the second batch are not found yet"
    asked.set()
    third = cascade(samples(5))
    assert masks.launched == [3, 4]
    for count, found in ((3, first), (4, second), (5, third)):
        assert [len(instances) for _, instances in found] == [*range(count)]
    assert masks.launched == [3, 4, 5]
    assert seen == [(3, False), (4, False), (5, False)]


def test_boxes_are_found_on_the_gpu_of_the_process_not_on_the_first_one(gpus: list[tuple[str, torch.device]]) -> None:
    assert len(list(ImageCascade(Boxes(), Masks("cuda:1"))(samples(3)))) == 3
    assert gpus == [("detector_0", torch.device("cuda:1"))]
    assert len(list(ImageCascade(Boxes(), Masks("cpu"))(samples(3)))) == 3
    assert len(gpus) == 1


def test_images_leave_the_gpu_before_their_masks_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[weakref.ref[Upload]] = []

    def upload(images: Sequence[np.ndarray]) -> Upload:
        found = Upload(images, torch.device("cpu"))
        uploads.append(weakref.ref(found))
        return found

    masks = Masks("cuda")
    monkeypatch.setattr(masks, "upload", upload)
    cascade = ImageCascade(Boxes(), masks)
    begun = [cascade(samples(count)) for count in (3, 4)]
    assert masks.launched == [3]
    assert uploads[0]() is None
    assert [len(list(found)) for found in begun] == [3, 4]


def test_what_failed_does_not_fail_again_in_the_next_call() -> None:
    class Choosy(Boxes):
        def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
            if len(samples) == 2:
                raise ValueError("no such image")
            return super().__call__(samples)

    cascade = ImageCascade(Choosy(), Masks("cuda"))
    for _ in range(2):
        with pytest.raises(ValueError, match="no such image"):
            next(cascade(samples(2)))
        assert len(list(cascade(samples(3)))) == 3


def test_images_keep_their_boxes_where_memory_cuts_the_batch_in_parts() -> None:
    masks = Masks("cuda", room=3)
    cascade = ImageCascade(Boxes(), masks)
    assert [(sample.image_id, len(instances)) for sample, instances in cascade(samples(7))] == [
        (str(i), i) for i in range(7)
    ]
    assert masks.launched == [3, 3, 1]
    assert cascade.summary_lines(Session()) == ["boxes", "masks", "GPU out of memory: went on with 3 images at a time"]


@pytest.mark.parametrize(("brightest", "told"), [(15, True), (16, False), (1, False)])
def test_images_in_which_models_see_black_are_named(brightest: int, told: bool) -> None:
    """As of a camera with 12 bits, saved with 16. An image of one color alone has nothing to see."""
    images = samples(2)
    for sample in images:
        sample.image[:] = 1
        sample.image[9, 9] = brightest
    cascade = ImageCascade(Boxes(), Masks("cpu"))
    assert len([*cascade(images)]) == 2
    said, *_ = cascade.summary_lines(Session())
    assert said.startswith("images: no value above 15 of 255, so the models see black: 2, such as 0; ") == told


@pytest.mark.parametrize("room", [99, 2])
def test_every_mask_has_the_class_of_the_box_that_prompted_it(room: int) -> None:
    for sample, instances in ImageCascade(Boxes(), Masks("cuda", room))(samples(6)):
        assert instances.size == sample.size
        expected = detections(int(sample.image_id))
        np.testing.assert_array_equal(instances.detections.class_ids, expected.class_ids)
        np.testing.assert_array_equal(instances.detections.scores, expected.scores)
        np.testing.assert_array_equal(instances.mask_scores, expected.boxes[:, 0] / 100)
        assert [(mask.left, mask.top) for mask in instances.masks] == [(i, i) for i in range(len(expected))]


def test_masks_that_are_not_those_of_the_boxes_are_not_labelled() -> None:
    with pytest.raises(AssertionError):
        label_masks((200, 200), detections(2), BoxMasks([covering(np.array([0, 0, 1, 1]))], np.ones(1, np.float32)))


@pytest.mark.parametrize("room", [99, 2])
def test_true_boxes_are_segmented_in_the_same_call_and_their_instances_travel_with_the_sample(room: int) -> None:
    images = samples(5)
    for i, sample in enumerate(images):
        object.__setattr__(sample, "gt_instances", true_instances(4 - i))
    masks = Masks("cuda", room)
    found = list(ImageCascade(Boxes(), masks, gt_boxes=True)(images))
    assert sum(masks.launched) == 5, "an image is launched once for both sets of its boxes"
    for i, (sample, instances) in enumerate(found):
        assert (sample.image_id, len(instances)) == (str(i), i)
        assert sample.gt_box_instances is not None and sample.gt_instances is not None
        assert sample.gt_box_instances.detections is sample.gt_instances.detections
        assert [mask.left for mask in sample.gt_box_instances.masks] == [50 + k for k in range(4 - i)]
    assert all(sample.gt_box_instances is None for sample, _ in ImageCascade(Boxes(), Masks("cpu"))(images))


def true_instances(count: int) -> Instances:
    found = detections(count, 50)
    return label_masks((200, 200), found, BoxMasks([*map(covering, found.boxes)], np.ones(count, np.float32)))
