"""Training examples for SAM2: views of images, the boxes of some of their objects, and the masks to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from datasets.voc import VocDataset
from models.segmenter import preprocess
from utils.boxes import box_limits, box_of_mask, clip_boxes
from utils.classes import VOID
from utils.errors import SampleError
from utils.structures import Instances

View = Callable[[np.ndarray], np.ndarray]  # cuts the same part out of an image and its masks

LOGIT_STRIDE = 4  # SAM2's mask logits have a quarter of the input's side
MIN_CELLS = 4.0  # an object that covers fewer logit cells of a view than this teaches nothing


@dataclass(frozen=True)
class Batch:
    """B views and N objects in them.

    Attributes:
        pixels: (B, 3, S, S) float32, preprocessed.
        view_index: (N,) int64, the view each object is in.
        boxes: (N, 4) float32 xyxy in pixels of the model's input, jittered.
        masks: (N, S/4, S/4) float32, the share of each cell that the object covers.
        weights: (N, S/4, S/4) float32, the share of each cell that is not void.
        failures: images that cannot be used.
    """

    pixels: torch.Tensor
    view_index: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    failures: tuple[SampleError, ...] = ()

    @classmethod
    def empty(cls, side: int, *failures: SampleError) -> Batch:
        """No views, for a model of this `image_size`."""
        cells = side // LOGIT_STRIDE
        shapes = ((3, side, side), (), (4,), (cells, cells), (cells, cells))
        pixels, view_index, boxes, masks, weights = (torch.zeros(0, *shape) for shape in shapes)
        return cls(pixels, view_index.long(), boxes, masks, weights, failures)


@dataclass(frozen=True)
class Drawing:
    """How examples are drawn from a dataset.

    Attributes:
        max_boxes: objects of one example that are prompted, drawn at random.
        jitter: standard deviation of a box corner's shift, as a share of the box's side.
        view_share: the smallest and the largest share of an image's sides that a view shows.
        seed: of all random choices.
    """

    max_boxes: int = 8
    jitter: float = 0.1
    view_share: tuple[float, float] = (1.0, 1.0)
    seed: int = 0


class PromptedViews(torch.utils.data.Dataset[Batch]):
    """Random views of a VOC split, the same for the same seed, epoch and index.

    Args:
        dataset: images with their targets and true instances.
        side: the model's `image_size` in pixels.
        drawing: how views and boxes are drawn.
    """

    def __init__(self, dataset: VocDataset, side: int, drawing: Drawing) -> None:
        self.dataset, self.side, self.drawing, self.epoch = dataset, side, drawing, 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one view; of none, but of a failure, where the image cannot be used."""
        rng = np.random.default_rng([self.drawing.seed, self.epoch, index])
        try:
            sample = self.dataset.load(index)
        except SampleError as error:
            return Batch.empty(self.side, error)
        objects, target = sample.gt_instances, sample.gt_mask
        assert objects is not None and target is not None
        view = random_view(objects, self.drawing.view_share, rng)
        masks, boxes = self._prompts(objects, view, rng)
        weights = coverage(view(target) != VOID, self.side // LOGIT_STRIDE)
        return Batch(
            preprocess([relit(view(sample.image), rng)], self.side, torch.device("cpu")),
            torch.zeros(len(masks), dtype=torch.long),
            torch.from_numpy(boxes),
            torch.from_numpy(masks),
            torch.from_numpy(weights).expand(len(masks), *weights.shape),
        )

    def _prompts(self, objects: Instances, view: View, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Masks (N, S/4, S/4) and jittered boxes (N, 4) of up to `max_boxes` objects of a view, drawn at random."""
        cells = self.side // LOGIT_STRIDE
        masks: list[np.ndarray] = []
        boxes: list[np.ndarray] = []
        for i in rng.permutation(len(objects)):
            mask = view(objects.masks[i].to_full(objects.size))
            if len(masks) < self.drawing.max_boxes and well_seen(mask, self.side):
                masks.append(coverage(mask, cells))
                boxes.append(prompt_box(mask, self.side, self.drawing.jitter, rng))
        return np.array(masks, np.float32).reshape(-1, cells, cells), np.array(boxes, np.float32).reshape(-1, 4)


def collate(views: list[Batch]) -> Batch:
    """One batch of several."""
    starts = np.cumsum([0, *(len(view.pixels) for view in views)]).tolist()
    index = torch.cat([view.view_index + start for view, start in zip(views, starts)])
    pixels, boxes, masks, weights = (
        torch.cat([getattr(view, name) for view in views]) for name in ("pixels", "boxes", "masks", "weights")
    )
    return Batch(pixels, index, boxes, masks, weights, tuple(error for view in views for error in view.failures))


def well_seen(mask: np.ndarray, side: int) -> bool:
    """Whether an object is large enough to be learnt, from its (h, w) bool mask in a view that becomes `side` wide."""
    return bool(mask.mean() * (side // LOGIT_STRIDE) ** 2 >= MIN_CELLS)


def prompt_box(mask: np.ndarray, side: int, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """(4,) float32: the jittered box of an object's mask in a view, in pixels of the model's input of `side`."""
    scale = (side / box_limits(mask.shape)).astype(np.float32)
    return jittered(box_of_mask(mask).astype(np.float32), jitter, mask.shape, rng) * scale


def jittered(box: np.ndarray, jitter: float, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A box whose corners are off as a detector's are, inside its image and of a pixel at least; SAM's recipe.

    Args:
        box: (4,) float32 xyxy in pixels.
        jitter: standard deviation of the shift, as a share of the box's width or height.
        size: (height, width) of the image.
    """
    sides = np.tile(box[2:] - box[:2], 2)
    moved = clip_boxes(box + rng.normal(0, jitter, 4) * sides, size)
    keep = (moved[2:] - moved[:2] >= 1).all()
    return (moved if keep else box).astype(np.float32)


def random_view(objects: Instances, share: tuple[float, float], rng: np.random.Generator) -> View:
    """A window onto a random object, a share of each side of the image between two limits; mirrored half the time."""
    boxes = objects.detections.boxes
    x1, y1, x2, y2 = boxes[rng.integers(len(boxes))] if len(boxes) else (0, 0, *objects.size[::-1])
    part = rng.uniform(*share)
    rows = _span(objects.size[0], part, rng.uniform(y1, y2), rng)
    columns = _span(objects.size[1], part, rng.uniform(x1, x2), rng)
    step = -1 if rng.random() < 0.5 else 1
    return lambda array: array[rows, columns][:, ::step]


def _span(length: int, share: float, inside: float, rng: np.random.Generator) -> slice:
    """A share of `length` pixels that has the position `inside` somewhere in it."""
    part = max(1, round(length * share))
    start = int(np.clip(inside - rng.random() * part, 0, length - part))
    return slice(start, start + part)


def relit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with another exposure and another white balance."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    bias = rng.uniform(-20, 20)
    return cv2.transform(np.ascontiguousarray(image), np.column_stack([np.diag(gain), np.full(3, bias)]))


def coverage(mask: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells) float32: the share of each cell that a bool mask covers."""
    return cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
