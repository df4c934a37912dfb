"""SAM2 by window: which windows boxes get, and their masks against the official predictor on each window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.sam2_image_predictor import SAM2ImagePredictor

from models import device_limits, segmenter
from models.device_limits import OomRetry
from models.sam2_build import build_sam2
from models.segmenter import Segmenter
from models.transfer import BoxMasks, PackedMasks, to_device
from models.windows import windows_of
from utils.errors import RunError

REPOSITORY = Path(__file__).parents[2]
DEMO_CONFIG = str(REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml")
GIB = 2**30
SIDE = 128
"""Of the model's input: small, so that the images of these tests are large for it."""


def random_model() -> torch.nn.Module:
    """A model with random weights whose masks are blobs."""
    torch.manual_seed(1)
    model = build_sam2(DEMO_CONFIG, SIDE)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 30
        head.layers[-1].bias.data = head.layers[-1].bias.data * 30 - 1
    return model


def picture(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(height).integers(0, 256, (-(-height // 9), -(-width // 9), 3), np.uint8)
    return small.repeat(9, 0).repeat(9, 1)[:height, :width]


def random_boxes(count: int, size: tuple[int, int], longest: float, seed: int = 0) -> np.ndarray:
    """(N, 4) boxes in an image of a (height, width)."""
    rng, limits = np.random.default_rng(seed), np.array(size[::-1])
    corners = rng.uniform(0, limits - 4, (count, 2))
    return np.hstack([corners, np.minimum(corners + rng.uniform(3, longest, (count, 2)), limits)]).astype(np.float32)


@pytest.mark.parametrize("size", [(6000, 4000), (1500, 9000), (700, 3000), (1023, 1000)])
def test_windows_hold_their_boxes_with_room_around_them(size: tuple[int, int]) -> None:
    boxes = random_boxes(500, size, 512)
    windows, limits = windows_of(boxes, size, 1024), np.array(size)[[1, 0]]
    assert (windows[:, :2] >= 0).all() and (windows[:, 2:] <= limits).all()
    sides = (windows[:, 2:] - windows[:, :2]).max(axis=1)
    whole = (windows == [0, 0, *limits]).all(axis=1)
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert set(sides[~whole]) <= {512, 1024, 2048} and (2 * sides[~whole] <= max(size)).all()
    np.testing.assert_array_equal(sides[~whole], np.select([longest <= 128, longest <= 256], [512, 1024], 2048)[~whole])
    assert (longest[whole] > max(size) / 16).all() or max(size) < 1024
    room = np.concatenate([boxes[:, :2] - windows[:, :2], windows[:, 2:] - boxes[:, 2:]], axis=1)
    at_edge = np.concatenate([windows[:, :2] == 0, windows[:, 2:] == limits], axis=1)
    assert (room >= np.where(at_edge, 0, sides[:, None] / 8))[~whole].all()
    assert whole.all() == (max(size) < 1024)


def test_near_boxes_share_a_window_and_windows_are_no_more_than_a_grid_of_half_their_side() -> None:
    pair = np.array([[4000, 4000, 4040, 4030], [4060, 4020, 4100, 4060]], np.float32)
    first, second = windows_of(pair, (8000, 8000), 1024)
    np.testing.assert_array_equal(first, second)
    crowd = windows_of(random_boxes(5000, (8000, 8000), 120), (8000, 8000), 1024)
    assert len(np.unique(crowd, axis=0)) <= np.ceil(8000 / 256) ** 2
    assert windows_of(np.zeros((0, 4), np.float32), (8000, 8000), 1024).shape == (0, 4)


def official_masks(model: torch.nn.Module, crop: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float]:
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(SIDE // 4,) * 2, (SIDE // 8,) * 2, (SIDE // 16,) * 2]  # it knows only 1024 px
    predictor.set_image(crop)
    masks, scores, _ = predictor.predict(box=box, multimask_output=False)
    return masks[0] > 0, float(scores[0])


def test_masks_equal_those_of_the_official_predictor_on_their_window() -> None:
    model, sizes = random_model(), [(500, 700), (300, 270), (200, 150)]
    images = [picture(*size) for size in sizes]
    boxes = [random_boxes(count, size, 60, seed=3) for count, size in zip((9, 4, 3), sizes)]
    several, covered = 0, []
    for image, prompts, found in zip(
        images, boxes, Segmenter(model, torch.float32, GIB, windows_at_once=3)(images, boxes)
    ):
        windows = windows_of(prompts, image.shape[:2], SIDE)
        several += len(np.unique(windows, axis=0))
        for box, (left, top, right, bottom), mask, score in zip(prompts, windows, found.masks, found.scores):
            crop = np.ascontiguousarray(image[top:bottom, left:right])
            theirs, their_score = official_masks(model, crop, box - np.tile([left, top], 2))
            ours = mask.to_full(image.shape[:2])
            inside = ours[top:bottom, left:right]
            assert ours.sum() == inside.sum() == mask.area
            assert (inside == theirs).mean() >= 0.9999
            covered.append(theirs.mean())
            assert score == pytest.approx(their_score, abs=1e-4)
    assert several > 8 and 0.02 < np.median(covered) < 0.8, "too little to prove anything"


def equal(first: BoxMasks, second: BoxMasks) -> bool:
    pairs = [*zip(first.masks, second.masks, strict=True)]
    same = all((a.left, a.top) == (b.left, b.top) and np.array_equal(a.crop, b.crop) for a, b in pairs)
    return same and np.array_equal(first.scores, second.scores)


def test_images_that_are_not_large_are_segmented_as_without_windows_to_the_bit() -> None:
    model, sizes = random_model(), [(127, 100), (90, 120), (60, 127)]
    images, boxes = [picture(*size) for size in sizes], [random_boxes(3, size, 60) for size in sizes]
    by_window, plain = (Segmenter(model, torch.float32, GIB, windows_at_once=n)(images, boxes) for n in (16, None))
    assert all(map(equal, by_window, plain))


def test_a_mask_does_not_depend_on_other_boxes_and_sets_keep_their_order() -> None:
    segmenter, image = Segmenter(random_model(), torch.float32, GIB, windows_at_once=2), picture(500, 600)
    boxes = random_boxes(8, (500, 600), 120)
    together = segmenter.collect(segmenter.launch([image], [boxes[:5], boxes[5:]], [0, 0]))
    apart = [segmenter([image], [boxes[i : i + 1]])[0] for i in range(8)]
    for ours, theirs in zip([mask for found in together for mask in found.masks], apart, strict=True):
        a, b = ours.to_full((500, 600)), theirs.masks[0].to_full((500, 600))
        assert (a == b).mean() > 0.9999
    scores = np.concatenate([found.scores for found in together])
    np.testing.assert_allclose(scores, [float(found.scores[0]) for found in apart], atol=1e-4)


def short_of_memory(segmenter: Segmenter, tried: list[int], room: list[int]) -> Callable[[torch.Tensor], object]:
    """An encoder that has memory for so many images as `room` says, and notes in `tried` how many it was given."""
    encode = segmenter._passes.encode

    def encode_few(pixels: torch.Tensor) -> object:
        tried.append(len(pixels))
        if len(pixels) > room[0]:
            raise torch.OutOfMemoryError("no memory")
        return encode(pixels)

    return encode_few


def test_whole_batches_are_encoded_again_when_memory_was_out_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_limits, "PATIENCE", 1)
    segmenter, images = Segmenter(random_model(), torch.float32, GIB), [picture(60, 60)] * 4
    boxes, tried, room = [random_boxes(2, (60, 60), 30)] * 4, list[int](), [1]
    encode_few = short_of_memory(segmenter, tried, room)
    retry = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)

    monkeypatch.setattr(segmenter._passes, "encode", encode_few)
    retry(4, lambda part: segmenter.launch(images[part], boxes[part]))
    assert tried == [4, 2, 1, 1, 1, 1] and segmenter.chunk_bytes < GIB
    room[0] = 4
    for _ in range(3):
        retry(4, lambda part: segmenter.launch(images[part], boxes[part]))
    assert tried[6:8] == [2, 2] and tried[-1] == 4
    assert segmenter.chunk_bytes == GIB


def test_no_window_is_lost_when_the_detector_runs_out_of_memory_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, image = Segmenter(random_model(), torch.float32, GIB, windows_at_once=4), picture(600, 600)
    boxes, encode = random_boxes(30, (600, 600), 30), segmenter._passes.encode
    (expected,) = segmenter([image], [boxes])

    def encode_and_lower(pixels: torch.Tensor) -> object:
        segmenter.use_less_memory(4, "the detector had none")  # as its own thread does
        return encode(pixels)

    monkeypatch.setattr(segmenter._passes, "encode", encode_and_lower)
    (found,) = segmenter([image], [boxes])
    assert segmenter._passes.max_batch == 2
    for ours, theirs in zip(found.masks, expected.masks, strict=True):
        assert (ours.to_full((600, 600)) == theirs.to_full((600, 600))).mean() > 0.9999


def test_fewer_windows_are_encoded_at_once_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, image = Segmenter(random_model(), torch.float32, GIB, windows_at_once=8), picture(600, 600)
    boxes = random_boxes(30, (600, 600), 30)
    (expected,), tried, room = segmenter([image], [boxes]), [], [2]
    encode_few = short_of_memory(segmenter, tried, room)
    monkeypatch.setattr(segmenter._passes, "encode", encode_few)
    (pending,) = OomRetry(segmenter.use_less_memory)(1, lambda part: segmenter.launch([image][part], [boxes][part]))
    (found,) = segmenter.collect(pending)
    assert tried[:3] == [8, 4, 2] and set(tried[3:]) <= {1, 2}
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    room[0] = 0
    with pytest.raises(RunError, match="too little memory for a single image"):
        OomRetry(segmenter.use_less_memory)(1, lambda part: segmenter.launch([image][part], [boxes][part]))


def test_only_windows_of_large_images_go_to_a_gpu_not_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    image, sent = picture(2000, 3000), list[int]()
    monkeypatch.setattr(Segmenter, "device", torch.device("cuda:0"))
    by_window = Segmenter(random_model(), torch.float32, GIB, windows_at_once=4)
    (kept,) = by_window.upload([image]).images()
    assert kept is image
    monkeypatch.undo()
    monkeypatch.setattr(
        segmenter, "to_device", lambda array, device: sent.append(array.nbytes) or to_device(array, device)
    )
    boxes = random_boxes(3, image.shape[:2], 20)
    by_window.launch([kept], [boxes])
    assert sum(sent) < 0.05 * image.nbytes


def test_masks_of_a_gpu_are_moved_without_being_unpacked() -> None:
    full = torch.from_numpy(np.random.default_rng(0).random((5, 30, 41)) < 0.02)
    full[0] = False
    for packed, array in zip(PackedMasks.from_masks(full).masks(), full.numpy(), strict=True):
        moved, there = packed.moved(13, 7), np.pad(array, ((7, 2), (13, 3)))
        assert not array.any() or "crop" not in vars(packed)
        np.testing.assert_array_equal(moved.to_full(there.shape), there)
        np.testing.assert_array_equal(np.unpackbits(moved.packed(), axis=1)[:, : moved.shape[1]], moved.crop)
