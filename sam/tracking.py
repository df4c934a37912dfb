"""SAM2 tracks objects through the frames of training examples, as the official predictor does, and learns from it.

The recipe of SAM2 (https://arxiv.org/abs/2408.00714, appendix D): the first frame is prompted, the others have only the
memory of those before them, and gradients flow back through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from models.sam2_forward import CORNER_LABEL, Backbone
from sam.clips import ClipBatch
from sam.losses import mask_losses
from utils.config import MaskLoss

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

NUM_FRAMES = 16
"""What the model is told of a clip's length; from this many frames on its temporal encodings are the same."""


def tracked(model: SAM2Base, batch: ClipBatch, encoded: Backbone) -> Iterator[tuple[torch.Tensor, ...]]:
    """What the model finds in each frame of a batch: mask logits, predicted IoUs and the logits of being in sight.

    Args:
        encoded: what the encoder makes of the (B * T, 3, S, S) frames.

    Yields:
        (N, M, S/4, S/4), (N, M) and (N, 1); M is 1 where the object was prompted.
    """
    frames = batch.pixels.shape[1]
    _, features, positions, sizes = model._prepare_backbone_features(encoded)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    labels = torch.arange(CORNER_LABEL, CORNER_LABEL + 2, dtype=torch.int32, device=batch.boxes.device)
    prompt = {"point_coords": batch.boxes[:, 0].reshape(-1, 2, 2), "point_labels": labels.expand(len(batch), 2)}
    for t in range(frames):
        columns = batch.clip_index * frames + t
        seen, places = [level[:, columns] for level in features], [level[:, columns] for level in positions]
        points = prompt if t == 0 else None
        current, outputs, _, _ = model._track_step(
            t, t == 0, seen, places, sizes, points, None, memory, NUM_FRAMES, False, None
        )
        logits, _, ious, _, full, current["obj_ptr"], in_sight = outputs
        model._encode_memory_in_output(seen, sizes, points, True, full, in_sight, current)
        memory["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = current
        yield logits, ious, in_sight


def tracking_loss(model: SAM2Base, batch: ClipBatch, encoded: Backbone, kind: MaskLoss) -> torch.Tensor:
    """The mean loss of the objects in the frames that only memory leads to, a scalar.

    Where an object is in sight the best of the masks learns it, and all learn to predict their own IoU; whether it is
    in sight is learnt everywhere.
    """
    losses = []
    for t, (logits, ious, in_sight) in enumerate(tracked(model, batch, encoded)):
        targets, weights = batch.masks[:, None, t], batch.weights[:, None, t]
        present = (targets > 0.5).flatten(1).any(1)
        losses.append(F.binary_cross_entropy_with_logits(in_sight[:, 0].float(), present.float()))
        # Where the model is sure that the object is out of sight it gives no mask to learn from.
        given = present & (in_sight[:, 0] > 0)
        if t == 0 or not given.any():
            continue
        logits, ious, targets, weights = (each[given] for each in (logits.float(), ious.float(), targets, weights))
        per_mask, score_loss = mask_losses(logits, ious, targets, weights, kind)
        losses.append((per_mask.min(1).values + score_loss).sum() / len(batch))
    return torch.stack(losses).sum() / batch.pixels.shape[1]
