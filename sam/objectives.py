"""What SAM2 can be finetuned to do: segment an object from its box, or follow it through a clip from its first box."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from datasets.voc import VocDataset
from models import sam2_forward
from models.sam2_forward import decode, encode, features_of
from models.sam2_video import Propagator
from models.segmenter import Segmenter
from sam.examples import Batch, ClipExamples, ImageExamples, ground_truth, mask_of
from sam.losses import prompted_mask_loss, tracking_loss
from utils.classes import VOID
from utils.config import SamFinetune
from utils.device import choose_precision
from utils.distributed import Session
from utils.errors import SampleError

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

T = TypeVar("T")

Validated = tuple[float, list[SampleError]]
"""See `Objective.validate`."""

DECODER = ("sam_mask_decoder.",)
IMAGE = (*DECODER, "image_encoder.", "sam_prompt_encoder.", "no_mem_embed")
MEMORY = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "obj_ptr_",
    "no_obj_",
    "sam_mask_decoder.pred_obj_score_head.",
)
"""Prefixes of parameter names: of the parts that a box prompt on an image uses, and of those that only video uses."""

BESIDE_MEMORY = {"memory": (), "decoder": DECODER, "all": IMAGE}
"""Parts that are trained together with the memory, by `finetune.sam.train`."""

BACKBONE_LR_SCALE = 0.35
"""Factor of the learning rate of these parts, which are trained already and must not forget while the memory is new."""


class ImageObjective:
    """Segment objects from their boxes.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        train, val: images with label maps and ground-truth instances.
        chunk_bytes: memory that decoding one chunk of boxes may take in validation.
    """

    def __init__(
        self, model: SAM2Base, settings: SamFinetune, train: VocDataset, val: VocDataset, chunk_bytes: int
    ) -> None:
        self.parameters = [{"params": parameters_of(model, IMAGE if settings.train == "all" else DECODER), "rate": 1.0}]
        self.examples = ImageExamples(train, model.image_size, settings)
        self._model, self._settings, self._val = model, settings, val
        self._segmenter = Segmenter(model, torch.float32, chunk_bytes)

    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of the masks of the prompted objects."""
        batch = batch.to(self._model.device)
        with autocast(self._model.device):
            features = encode(self._model, batch.pixels)
            logits, scores = decode(self._model, features, batch.index, batch.boxes)
        return prompted_mask_loss(logits.float(), scores.float(), batch.masks, batch.weights, self._settings.mask_loss)

    def validate(self, session: Session) -> Validated:
        """Compute the mean IoU, at image size and without void, of the masks of the ground-truth boxes.

        Only the first `val_images` images count.
        """
        return validate(session, range(min(self._settings.val_images, len(self._val))), self._image_ious)

    def _image_ious(self, index: int) -> Iterator[float]:
        """Yield the IoU of each object of an image."""
        sample = self._val.load(index)
        objects, gt_mask = ground_truth(sample)
        valid = gt_mask != VOID
        (found,) = self._segmenter([sample.image], [objects.detections.boxes])
        for ours, gt in zip(found.masks, objects.masks):
            predicted, actual = ours.to_full(sample.size) & valid, gt.to_full(sample.size)
            yield (predicted & actual).sum() / (predicted | actual).sum()


class ClipObjective:
    """Follow objects through clips from the boxes in their first frames.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        train, val: clips, whose frames have label maps and ground-truth instances.
    """

    def __init__(self, model: SAM2Base, settings: SamFinetune, train: VocDataset, val: VocDataset) -> None:
        memory = parameters_of(model, MEMORY)
        beside = parameters_of(model, BESIDE_MEMORY[settings.train or "memory"])
        known = [each for each in beside if all(each is not other for other in memory)]
        groups = {1.0: memory, BACKBONE_LR_SCALE: known}
        self.parameters = [{"params": group, "rate": rate} for rate, group in groups.items() if group]
        self.examples = ClipExamples(train, model.image_size, settings)
        self._model, self._settings, self._val = model, settings, val
        self._images_learn = bool(known)
        self._propagator = Propagator(model, torch.float32)

    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of the tracked masks and, if not only the memory is trained, of masks of each frame's boxes.

        The latter keeps the other parts from forgetting box prompts, and shows them objects that occlude each other.
        """
        model, kind = self._model, self._settings.mask_loss
        batch = batch.to(model.device)
        with autocast(model.device):
            encoded = model.forward_image(batch.pixels.flatten(0, 1))
            loss = tracking_loss(model, batch, encoded, kind)
            if not self._images_learn:
                return loss
            objects, frames = torch.nonzero(batch.boxes.any(2), as_tuple=True)
            image_index = batch.index[objects] * self._settings.frames + frames
            logits, scores = decode(model, features_of(model, encoded), image_index, batch.boxes[objects, frames])
        masks, weights = batch.masks[objects, frames], batch.weights[objects, frames]
        return loss + prompted_mask_loss(logits.float(), scores.float(), masks, weights, kind)

    def validate(self, session: Session) -> Validated:
        """Compute the mean IoU, at image size, of the objects of first frames in all later frames of their clips.

        Clips count until they hold `val_images` frames; of a clip with an unusable frame, the frames before it count.
        """
        clips = list(self._val.clips.values())
        frames = np.cumsum([len(clip) for clip in clips])
        enough = 1 + int(np.searchsorted(frames, self._settings.val_images))
        return validate(session, clips[:enough], self._clip_ious)

    def _clip_ious(self, clip: range) -> Iterator[float]:
        """Yield the IoU of each object of the first frame in each later frame; 1 where both masks are empty."""
        ids: list[int] = []
        for at, index in enumerate(clip):
            sample = self._val.load(index)
            objects, gt_mask = ground_truth(sample)
            valid = gt_mask != VOID
            if at == 0:
                self._propagator.reset(sample.size, len(clip))
            tracked = self._propagator.step(at, *self._propagator.encode([sample.image]))
            if at == 0:
                assert objects.track_ids is not None, "the input checks refuse clips without object ids"
                ids = objects.track_ids.tolist()
                self._propagator.add_boxes(dict(zip(ids, objects.detections.boxes)))
                continue
            for track_id in ids:
                predicted, actual = tracked[track_id][0].to_full(sample.size) & valid, mask_of(objects, track_id)
                union = np.count_nonzero(predicted | actual)
                yield np.count_nonzero(predicted & actual) / union if union else 1.0


def validate(session: Session, units: Sequence[T], ious_of: Callable[[T], Iterator[float]]) -> Validated:
    """Compute the mean IoU of the objects of all units; 0 if there are none. The processes share the units."""
    ious: list[float] = []
    failures: list[SampleError] = []
    for unit in session.own_share(units):
        try:
            ious += ious_of(unit)
        except SampleError as error:
            failures.append(error)
    ious = session.gather(ious)
    return (float(np.mean(ious)) if ious else 0.0), failures


def parameters_of(model: SAM2Base, prefixes: Sequence[str]) -> list[torch.nn.Parameter]:
    """Return the parameters whose names begin with one of the prefixes."""
    return [parameter for name, parameter in model.named_parameters() if name.startswith(tuple(prefixes))]


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Run matrix products in bf16 where the device supports it natively."""
    precision = choose_precision("auto", device)
    with sam2_forward.autocast(device, precision), sam2_forward.without_cudnn_attention():
        yield
