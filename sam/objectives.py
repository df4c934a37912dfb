"""What SAM2 can be finetuned to do: find an object from its box, or follow it through a clip from its first box on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import torch

from datasets.voc import VocDataset
from models import sam2_forward
from models.sam2_forward import decode, encode, features_of
from models.sam2_video import Propagator
from models.segmenter import Segmenter
from sam.clips import ClipBatch, PromptedClips, collate_clips, mask_of
from sam.examples import Batch, Drawing, PromptedViews, collate
from sam.losses import prompted_mask_loss
from sam.protocols import ParameterGroup, ValScore
from sam.tracking import tracking_loss
from utils.classes import VOID
from utils.config import SamFinetune
from utils.device import choose_precision
from utils.distributed import Session
from utils.errors import SampleError

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

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
"""Beginnings of parameter names: of what a box prompt on an image reaches, and of what only video uses."""

BESIDE_MEMORY = {"memory": (), "decoder": DECODER, "all": IMAGE}
"""What learns with the memory, by `finetune.sam.train`."""

BACKBONE_LR_SCALE = 0.35
"""The share of the learning rate for that: it can do its part, and shall not forget it while the memory is new."""


class ImageObjective:
    """To find objects from their boxes.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        train, val: images with their targets and true instances.
        chunk_bytes: memory that decoding one chunk of boxes may take in a validation.
    """

    def __init__(
        self, model: SAM2Base, settings: SamFinetune, train: VocDataset, val: VocDataset, chunk_bytes: int
    ) -> None:
        parts = IMAGE if settings.train == "all" else DECODER
        self.parameters = [ParameterGroup(parameters_of(model, parts))]
        self.examples = PromptedViews(train, model.image_size, drawing_of(settings))
        self.collate = collate
        self._model, self._settings, self._val = model, settings, val
        self._segmenter = Segmenter(model, torch.float32, chunk_bytes)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of the masks that the boxes give."""
        model, device = self._model, self._model.device
        with autocast(device):
            features = encode(model, batch.pixels.to(device))
            logits, scores = decode(model, features, batch.view_index.to(device), batch.boxes.to(device))
        masks, weights = batch.masks.to(device), batch.weights.to(device)
        return prompted_mask_loss(logits.float(), scores.float(), masks, weights, self._settings.mask_loss)

    def validate(self, session: Session) -> ValScore:
        """Mean IoU, at image size, of the masks of the true boxes of the first images; void is not counted."""
        ious: list[float] = []
        failures: list[SampleError] = []
        for index in session.shard(range(min(self._settings.val_images, len(self._val)))):
            try:
                sample = self._val.load(index)
            except SampleError as error:
                failures.append(error)
                continue
            objects, target = sample.gt_instances, sample.gt_mask
            assert objects is not None and target is not None
            counted = target != VOID
            (found,) = self._segmenter([sample.image], [objects.detections.boxes])
            for ours, true in zip(found.masks, objects.masks):
                predicted, actual = ours.to_full(sample.size) & counted, true.to_full(sample.size)
                ious.append((predicted & actual).sum() / (predicted | actual).sum())
        return ValScore.from_ious(session.gather(ious), failures)


class ClipObjective:
    """To follow objects through clips from the boxes in their first frames on.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        train, val: clips, whose frames have their targets and true instances.
    """

    def __init__(self, model: SAM2Base, settings: SamFinetune, train: VocDataset, val: VocDataset) -> None:
        beside = BESIDE_MEMORY[settings.train or "memory"]
        memory = parameters_of(model, MEMORY)
        known = [each for each in parameters_of(model, beside) if all(each is not other for other in memory)]
        self.parameters = [ParameterGroup(memory), *([ParameterGroup(known, BACKBONE_LR_SCALE)] if known else [])]
        self._images_learn = bool(known)
        clips = list(train.clips.values())
        self.examples = PromptedClips(train, clips, model.image_size, settings.frames, drawing_of(settings))
        self.collate = collate_clips
        self._model, self._settings, self._val = model, settings, val
        self._propagator = Propagator(model, torch.float32)

    def loss(self, batch: ClipBatch) -> torch.Tensor:
        """The loss of the masks that the memory gives; where more learns than it, also of those of each frame's boxes.

        So the rest does not forget what boxes in images are for, and learns it from objects that hide each other.
        """
        model, device, kind = self._model, self._model.device, self._settings.mask_loss
        batch = batch.to(device)
        with autocast(device):
            encoded = model.forward_image(batch.pixels.flatten(0, 1))
            loss = tracking_loss(model, batch, encoded, kind)
            if not self._images_learn:
                return loss
            objects, frames = torch.nonzero(batch.boxes.any(2), as_tuple=True)
            image_index = batch.clip_index[objects] * self._settings.frames + frames
            logits, scores = decode(model, features_of(model, encoded), image_index, batch.boxes[objects, frames])
        masks, weights = batch.masks[objects, frames], batch.weights[objects, frames]
        return loss + prompted_mask_loss(logits.float(), scores.float(), masks, weights, kind)

    def validate(self, session: Session) -> ValScore:
        """Mean IoU, at image size, of the objects of the first frames of clips in all their later frames.

        Of a clip with a frame that cannot be used, those before it count.
        """
        frames = np.cumsum([len(clip) for clip in self._val.clips.values()])
        enough = 1 + int(np.searchsorted(frames, self._settings.val_images))
        ious: list[float] = []
        failures: list[SampleError] = []
        for clip in session.shard(list(self._val.clips.values())[:enough]):
            try:
                ious += self._followed(clip)
            except SampleError as error:
                failures.append(error)
        return ValScore.from_ious(session.gather(ious), failures)

    def _followed(self, clip: range) -> Iterator[float]:
        """The IoU of each object of a clip's first frame in each later frame; 1 where it is rightly not to be seen."""
        numbers: list[int] = []
        for at, index in enumerate(clip):
            sample = self._val.load(index)
            objects, target = sample.gt_instances, sample.gt_mask
            assert objects is not None and target is not None
            counted = target != VOID
            if at == 0:
                self._propagator.begin(sample.size, len(clip))
            tracked = self._propagator.advance(at, *self._propagator.encode([sample.image]))
            if at == 0:
                assert objects.track_ids is not None, "the splits are looked through before"
                numbers = objects.track_ids.tolist()
                self._propagator.prompt(dict(zip(numbers, objects.detections.boxes)))
                continue
            for number in numbers:
                predicted, actual = tracked[number][0].to_full(sample.size) & counted, mask_of(objects, number)
                union = np.count_nonzero(predicted | actual)
                yield np.count_nonzero(predicted & actual) / union if union else 1.0


def drawing_of(settings: SamFinetune) -> Drawing:
    """How examples are drawn from a dataset, images or clips."""
    return Drawing(settings.boxes_per_image, settings.jitter, settings.view_share, settings.seed)


def parameters_of(model: SAM2Base, parts: Sequence[str]) -> list[torch.nn.Parameter]:
    """The parameters whose names begin with one of these."""
    return [parameter for name, parameter in model.named_parameters() if name.startswith(tuple(parts))]


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in bf16 where the device computes in it natively."""
    return sam2_forward.autocast(device, choose_precision("auto", device))
