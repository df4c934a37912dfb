"""Training examples for SAM2's memory: stretches of clips, the boxes of objects in the first frame, all masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from datasets.voc import VocDataset
from models.segmenter import preprocess
from sam.examples import LOGIT_STRIDE, Drawing, View, coverage, prompt_box, random_view, relit, well_seen
from utils.classes import VOID
from utils.errors import SampleError
from utils.structures import Instances

MOST_STEP = 2
"""Frames of a clip that lie between two frames of an example are up to one less than this."""


@dataclass(frozen=True)
class ClipBatch:
    """B stretches of T frames and N objects in them.

    Attributes:
        pixels: (B, T, 3, S, S) float32, preprocessed.
        clip_index: (N,) int64, the stretch each object is in.
        boxes: (N, T, 4) float32 xyxy in pixels of the model's input, jittered; zeros where so little of the object is
            in sight that its box teaches nothing, never so in the first frame.
        masks: (N, T, S/4, S/4) float32, the share of each cell that the object covers; all 0 where it is out of sight.
        weights: (N, T, S/4, S/4) float32, the share of each cell that is not void.
        failures: frames that cannot be used.
    """

    pixels: torch.Tensor
    clip_index: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    failures: tuple[SampleError, ...] = ()

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self.boxes)

    def to(self, device: torch.device) -> ClipBatch:
        """The same on a device."""
        tensors = (self.pixels, self.clip_index, self.boxes, self.masks, self.weights)
        pixels, clip_index, boxes, masks, weights = (tensor.to(device) for tensor in tensors)
        return ClipBatch(pixels, clip_index, boxes, masks, weights, self.failures)

    @classmethod
    def empty(cls, frames: int, side: int, *failures: SampleError) -> ClipBatch:
        """No clips, for examples of so many frames and a model of this `image_size`."""
        cells = side // LOGIT_STRIDE
        pixels, masks = torch.zeros(0, frames, 3, side, side), torch.zeros(0, frames, cells, cells)
        return cls(pixels, torch.zeros(0).long(), torch.zeros(0, frames, 4), masks, masks, failures)


class PromptedClips(torch.utils.data.Dataset[ClipBatch]):
    """Random stretches of the clips of a VOC split, the same for the same seed, epoch and index.

    A stretch runs forwards or backwards, through one window that all its frames share.

    Args:
        dataset: frames with their targets and true instances, whose numbers stay the same through a clip.
        clips: the positions of each clip's frames in the dataset.
        side: the model's `image_size` in pixels.
        frames: of a stretch; that of a shorter clip repeats its last frame.
        drawing: how windows and boxes are drawn.
    """

    def __init__(self, dataset: VocDataset, clips: list[range], side: int, frames: int, drawing: Drawing) -> None:
        self.dataset, self.clips, self.side, self.frames = dataset, clips, side, frames
        self.drawing, self.epoch = drawing, 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipBatch:
        """A batch of one stretch; of none, but of a failure, where a frame cannot be used."""
        rng = np.random.default_rng([self.drawing.seed, self.epoch, index])
        try:
            return self._stretch([*self.clips[index]], rng)
        except SampleError as error:
            return ClipBatch.empty(self.frames, self.side, error)

    def _stretch(self, positions: list[int], rng: np.random.Generator) -> ClipBatch:
        chosen = [positions[at] for at in stretch(len(positions), self.frames, rng)]
        samples, cells = [self.dataset.load(position) for position in chosen], self.side // LOGIT_STRIDE
        objects = [sample.gt_instances for sample in samples if sample.gt_instances is not None]
        targets = [sample.gt_mask for sample in samples if sample.gt_mask is not None]
        view, light = random_view(objects[0], self.drawing.view_share, rng), rng.integers(2**32)
        images = [view(sample.image) for sample in samples]
        pixels = preprocess(
            [relit(image, np.random.default_rng(light)) for image in images], self.side, torch.device("cpu")
        )
        numbers = self._prompted(objects[0], view, rng)
        seen = [[view(mask_of(found, number)) for found in objects] for number in numbers]
        masks = [[coverage(mask, cells) for mask in each] for each in seen]
        counted = [coverage(view(target) != VOID, cells) for target in targets]
        weights = torch.from_numpy(np.array(counted))
        jitter, unseen = self.drawing.jitter, np.zeros(4, np.float32)
        boxes = [
            [prompt_box(mask, self.side, jitter, rng) if well_seen(mask, self.side) else unseen for mask in each]
            for each in seen
        ]
        return ClipBatch(
            pixels[None],
            torch.zeros(len(seen), dtype=torch.long),
            torch.from_numpy(np.array(boxes, np.float32).reshape(-1, self.frames, 4)),
            torch.from_numpy(np.array(masks, np.float32).reshape(-1, self.frames, cells, cells)),
            weights.expand(len(seen), *weights.shape),
        )

    def _prompted(self, objects: Instances, view: View, rng: np.random.Generator) -> list[int]:
        """Numbers of up to `max_boxes` objects that are well seen in the first frame, drawn at random."""
        assert objects.track_ids is not None, "the preflight finds clips without object numbers"
        numbers = rng.permutation(objects.track_ids).tolist()
        seen = [number for number in numbers if well_seen(view(mask_of(objects, number)), self.side)]
        return seen[: self.drawing.max_boxes]


def stretch(count: int, frames: int, rng: np.random.Generator) -> list[int]:
    """Places of `frames` frames in a clip of `count`: at even steps, forwards or backwards; the last one repeats."""
    step = int(rng.integers(1, MOST_STEP + 1))
    if (frames - 1) * step >= count:
        step = 1
    start = int(rng.integers(max(1, count - (frames - 1) * step)))
    places = [min(start + t * step, count - 1) for t in range(frames)]
    return places[::-1] if rng.random() < 0.5 else places


def collate_clips(stretches: list[ClipBatch]) -> ClipBatch:
    """One batch of several."""
    starts = np.cumsum([0, *(len(each.pixels) for each in stretches)]).tolist()
    index = torch.cat([each.clip_index + start for each, start in zip(stretches, starts)])
    pixels, boxes, masks, weights = (
        torch.cat([getattr(each, name) for each in stretches]) for name in ("pixels", "boxes", "masks", "weights")
    )
    failures = tuple(error for each in stretches for error in each.failures)
    return ClipBatch(pixels, index, boxes, masks, weights, failures)


def mask_of(objects: Instances, number: int) -> np.ndarray:
    """(H, W) bool: the object with a number; empty where it is out of sight."""
    assert objects.track_ids is not None
    for place in np.flatnonzero(objects.track_ids == number).tolist():
        return objects.masks[place].to_full(objects.size)
    return np.zeros(objects.size, bool)
