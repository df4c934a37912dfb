"""Training examples for SAM2: views of images or clips, boxes of some of their objects, and the masks to be learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from datasets.voc import VocDataset
from models.segmenter import preprocess
from utils.boxes import box_limits, box_of_mask, clip_boxes
from utils.classes import VOID
from utils.config import SamFinetune
from utils.errors import SampleError
from utils.structures import Instances, Sample

View = Callable[[np.ndarray], np.ndarray]
"""Cuts the same window out of an image and its masks."""

LOGIT_STRIDE = 4
"""Pixels of the model's input per mask logit and side; a square of this side is called a cell."""

MIN_CELLS = 4.0
"""Objects that cover fewer cells of a view are too small to learn from."""

MAX_STRIDE = 2
"""Maximum frame stride within a training clip."""


@dataclass(frozen=True)
class Batch:
    """B examples with N objects; C is the number of cells per side, S / LOGIT_STRIDE.

    Examples are images or clips of T frames; clips have the additional dimension T, given in brackets.

    Attributes:
        pixels: (B, [T,] 3, S, S) float32, preprocessed.
        index: (N,) int64, the example that each object is in.
        boxes: (N, [T,] 4) float32 xyxy in pixels of the model's input, jittered; all 0 where too little of the object
            is visible to prompt it, which never happens in the first frame.
        masks: (N, [T,] C, C) float32, the share of each cell that the object covers; all 0 where it is not visible.
        weights: (N, [T,] C, C) float32, the share of each cell that is not void.
        failures: the images that cannot be used.
    """

    pixels: torch.Tensor
    index: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    failures: tuple[SampleError, ...] = ()

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.boxes)

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if name != "failures"}
        return replace(self, **tensors)


def collate(batches: list[Batch]) -> Batch:
    """Join several batches into one."""
    starts = np.cumsum([0, *(len(batch.pixels) for batch in batches)]).tolist()
    index = torch.cat([batch.index + start for batch, start in zip(batches, starts)])
    pixels, boxes, masks, weights = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("pixels", "boxes", "masks", "weights")
    )
    return Batch(pixels, index, boxes, masks, weights, tuple(error for batch in batches for error in batch.failures))


class Examples(torch.utils.data.Dataset[Batch]):
    """Batches of one random example each, a function of the seed, the epoch and the index.

    Args:
        dataset: images with label maps and ground-truth instances.
        side: the model's `image_size` in pixels.
        settings: `finetune.sam`, which says how examples are drawn.

    Attributes:
        epoch: to be set by the trainer.
    """

    def __init__(self, dataset: VocDataset, side: int, settings: SamFinetune) -> None:
        self.dataset, self.side, self.settings, self.epoch = dataset, side, settings, 0

    def __len__(self) -> int:
        raise NotImplementedError

    def rng(self, index: int) -> np.random.Generator:
        """Make the random generator of one example."""
        return np.random.default_rng([self.settings.seed, self.epoch, index])

    def batch(self, pixels: torch.Tensor, boxes: list[Any], masks: list[Any], weights: Any) -> Batch:
        """Make a batch of one example from (1, [T,] 3, S, S) pixels and, nested as in `Batch`, its other values."""
        masks_shape = (-1, *np.shape(weights))
        return Batch(
            pixels,
            torch.zeros(len(masks), dtype=torch.long),
            torch.from_numpy(np.array(boxes, np.float32).reshape(*masks_shape[:-2], 4)),
            torch.from_numpy(np.array(masks, np.float32).reshape(masks_shape)),
            torch.from_numpy(np.array(weights)).expand(len(masks), *masks_shape[1:]),
        )

    def without_example(self, failure: SampleError, *frames: int) -> Batch:
        """Make a batch without examples, since one cannot be used; `frames` is T, where examples are clips."""
        pixels = torch.zeros(0, *frames, 3, self.side, self.side)
        weights = np.zeros((*frames, *[self.side // LOGIT_STRIDE] * 2), np.float32)
        return replace(self.batch(pixels, [], [], weights), failures=(failure,))


class ImageExamples(Examples):
    """Random views of single images."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Batch:
        """Draw one view; if the image cannot be used, return an empty batch with the failure."""
        rng, cells = self.rng(index), self.side // LOGIT_STRIDE
        try:
            sample = self.dataset.load(index)
        except SampleError as error:
            return self.without_example(error)
        objects, gt_mask = ground_truth(sample)
        view = random_view(objects, self.settings.view_share, rng)
        masks: list[np.ndarray] = []
        boxes: list[np.ndarray] = []
        for i in rng.permutation(len(objects)):
            mask = view(objects.masks[i].to_full(objects.size))
            if len(masks) < self.settings.boxes_per_image and is_large_enough(mask, self.side):
                masks.append(soft_mask(mask, cells))
                boxes.append(prompt_box(mask, self.side, self.settings.jitter, rng))
        pixels = preprocess([color_jitter(view(sample.image), rng)], self.side, torch.device("cpu"))
        return self.batch(pixels, boxes, masks, soft_mask(view(gt_mask) != VOID, cells))


class ClipExamples(Examples):
    """Random stretches of clips, forwards or backwards, seen through one window that all frames share.

    Args:
        dataset: opened by clips; object ids are the same in all frames of a clip.
        settings: their `frames` is T, the length of a stretch; that of a shorter clip repeats its last frame.
    """

    def __init__(self, dataset: VocDataset, side: int, settings: SamFinetune) -> None:
        super().__init__(dataset, side, settings)
        self.clips = list(dataset.clips.values())

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Batch:
        """Draw one stretch; if a frame cannot be used, return an empty batch with the failure."""
        rng, clip, settings = self.rng(index), self.clips[index], self.settings
        try:
            samples = [self.dataset.load(clip[at]) for at in sample_frames(len(clip), settings.frames, rng)]
        except SampleError as error:
            return self.without_example(error, settings.frames)
        objects, gt_masks = zip(*map(ground_truth, samples))
        first, cells, jitter = objects[0], self.side // LOGIT_STRIDE, settings.jitter
        view, light = random_view(first, settings.view_share, rng), rng.integers(2**32)
        # Each frame draws from an equal generator, so that all have the same light.
        images = [color_jitter(view(sample.image), np.random.default_rng(light)) for sample in samples]
        assert first.track_ids is not None, "the input checks refuse clips without object ids"
        ids = rng.permutation(first.track_ids).tolist()
        large = [i for i in ids if is_large_enough(view(mask_of(first, i)), self.side)]
        prompted = large[: settings.boxes_per_image]
        tracks = [[view(mask_of(instances, i)) for instances in objects] for i in prompted]
        masks = [[soft_mask(mask, cells) for mask in track] for track in tracks]
        hidden = np.zeros(4, np.float32)
        boxes = [
            [prompt_box(mask, self.side, jitter, rng) if is_large_enough(mask, self.side) else hidden for mask in track]
            for track in tracks
        ]
        weights = [soft_mask(view(gt_mask) != VOID, cells) for gt_mask in gt_masks]
        return self.batch(preprocess(images, self.side, torch.device("cpu"))[None], boxes, masks, weights)


def ground_truth(sample: Sample) -> tuple[Instances, npt.NDArray[np.uint8]]:
    """Return the ground-truth instances and the label map of a sample that was loaded with both."""
    assert sample.gt_instances is not None and sample.gt_mask is not None
    return sample.gt_instances, sample.gt_mask


def mask_of(objects: Instances, track_id: int) -> npt.NDArray[np.bool_]:
    """Return the (H, W) mask of the object with an id; empty if it is not among the objects."""
    assert objects.track_ids is not None
    for place in np.flatnonzero(objects.track_ids == track_id).tolist():
        return objects.masks[place].to_full(objects.size)
    return np.zeros(objects.size, bool)


def sample_frames(count: int, frames: int, rng: np.random.Generator) -> list[int]:
    """Choose `frames` positions in a clip of `count` frames at a constant stride, ascending or descending.

    The last frame of a clip that is too short is repeated.
    """
    stride = int(rng.integers(1, MAX_STRIDE + 1))
    if (frames - 1) * stride >= count:
        stride = 1
    start = int(rng.integers(max(1, count - (frames - 1) * stride)))
    places = [min(start + t * stride, count - 1) for t in range(frames)]
    return places[::-1] if rng.random() < 0.5 else places


def random_view(objects: Instances, share: tuple[float, float], rng: np.random.Generator) -> View:
    """Choose a window that shows a point of a random object, mirrored half the time.

    Args:
        share: limits of the share of each image side that the window takes.
    """
    boxes = objects.detections.boxes
    x1, y1, x2, y2 = boxes[rng.integers(len(boxes))] if len(boxes) else (0, 0, *objects.size[::-1])
    part = rng.uniform(*share)
    rows = _random_span(objects.size[0], part, rng.uniform(y1, y2), rng)
    columns = _random_span(objects.size[1], part, rng.uniform(x1, x2), rng)
    step = -1 if rng.random() < 0.5 else 1
    return lambda array: array[rows, columns][:, ::step]


def _random_span(length: int, share: float, inside: float, rng: np.random.Generator) -> slice:
    """Choose a random span of a share of `length` pixels that contains the position `inside`."""
    part = max(1, round(length * share))
    start = int(np.clip(inside - rng.random() * part, 0, length - part))
    return slice(start, start + part)


def color_jitter(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Change the exposure and the white balance of a (H, W, 3) image at random."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    bias = rng.uniform(-20, 20)
    matrix = np.column_stack([np.diag(gain), np.full(3, bias)])
    return np.asarray(cv2.transform(np.ascontiguousarray(image), matrix), np.uint8)


def is_large_enough(mask: npt.NDArray[np.bool_], side: int) -> bool:
    """Tell whether an object can be learned from its (h, w) mask in a view that is scaled to `side` pixels."""
    return bool(mask.mean() * (side // LOGIT_STRIDE) ** 2 >= MIN_CELLS)


def soft_mask(mask: npt.NDArray[np.bool_], cells: int) -> npt.NDArray[np.float32]:
    """Compute the share of each cell that a mask covers, (cells, cells)."""
    resized = cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


def prompt_box(
    mask: npt.NDArray[np.bool_], side: int, jitter: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Compute the jittered box (4,) xyxy of an object's mask in a view, in pixels of the model's input of `side`."""
    height, width = mask.shape
    scale = (side / box_limits((height, width))).astype(np.float32)
    return jitter_box(box_of_mask(mask).astype(np.float32), jitter, (height, width), rng) * scale


def jitter_box(
    box: npt.NDArray[np.float32], jitter: float, size: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Shift the corners of a box at random, as a detector does; the recipe of SAM.

    Args:
        box: (4,) xyxy in pixels.
        jitter: standard deviation of the shift, as a share of the box's width or height.
        size: (height, width) of the image, to which the result is clipped.

    Returns:
        the shifted box, or the given one if the shifted one is narrower than a pixel.
    """
    sides = np.tile(box[2:] - box[:2], 2)
    moved = clip_boxes(box + rng.normal(0, jitter, 4) * sides, size)
    keep = (moved[2:] - moved[:2] >= 1).all()
    return (moved if keep else box).astype(np.float32)
