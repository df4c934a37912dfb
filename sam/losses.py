"""Losses for SAM2: focal or cross entropy, dice, and the error of the predicted IoU; for images and for clips.

The recipe of SAM (https://arxiv.org/abs/2304.02643, appendix A) and SAM2 (https://arxiv.org/abs/2408.00714, appendix
D): of the three multimask outputs only the best one learns the mask, all of them learn to predict their own IoU.
Targets are soft, the share of each logit's cell that the object covers, so boundaries are learned below cell size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.sam2_forward import Backbone, corners_of
from sam.examples import Batch
from utils.config import MaskLoss

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

FOCAL_GAMMA = 2.0
FOCAL_ALPHA = 0.25
PIXEL_LOSS_WEIGHT = {"focal": 20.0, "bce": 1.0}

NUM_FRAMES = 16
"""Length of a clip that the model is given; its temporal encodings are the same from this length on."""


def pixel_loss(logits: Tensor, targets: Tensor, weights: Tensor, kind: MaskLoss) -> Tensor:
    """Compute the mean pixel loss of each mask, (...,).

    `focal` weighs each pixel by its error squared (https://arxiv.org/abs/1708.02002), extended to soft targets as in
    quality focal loss (https://arxiv.org/abs/2006.04388).

    Args:
        logits: (..., h, w).
        targets: (..., h, w) in [0, 1].
        weights: (..., h, w) in [0, 1]; pixels of weight 0 do not count.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets.expand_as(logits), reduction="none")
    if kind == "focal":
        balance = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
        loss = balance * (logits.sigmoid() - targets).abs().pow(FOCAL_GAMMA) * loss
    return (loss * weights).sum((-2, -1)) / weights.sum((-2, -1)).clamp(min=1)


def dice_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Compute 1 - soft Dice of each mask, (...,) in [0, 1], smoothed by 1 so that an empty pair has no loss."""
    probabilities = logits.sigmoid() * weights
    targets = targets * weights
    overlap = 2 * (probabilities * targets).sum((-2, -1))
    return 1 - (overlap + 1) / (probabilities.sum((-2, -1)) + targets.sum((-2, -1)) + 1)


def mask_iou(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Compute the IoU of each mask cut at logit 0 with its target cut at 0.5, (...,); 1 where both are empty."""
    predicted, actual = (logits > 0) & (weights > 0), (targets > 0.5) & (weights > 0)
    intersection = (predicted & actual).sum((-2, -1))
    union = (predicted | actual).sum((-2, -1))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def mask_losses(
    logits: Tensor, scores: Tensor, targets: Tensor, weights: Tensor, kind: MaskLoss
) -> tuple[Tensor, Tensor]:
    """Compute the loss of each of M masks of N objects, (N, M), and the mean error of their scores, (N,).

    Args:
        logits: (N, M, h, w).
        scores: (N, M) predicted IoUs.
        targets, weights: (N, 1, h, w) in [0, 1].
    """
    per_mask = PIXEL_LOSS_WEIGHT[kind] * pixel_loss(logits, targets, weights, kind)
    per_mask = per_mask + dice_loss(logits, targets, weights)
    return per_mask, (scores - mask_iou(logits.detach(), targets, weights)).abs().mean(1)


def prompted_mask_loss(logits: Tensor, scores: Tensor, targets: Tensor, weights: Tensor, kind: MaskLoss) -> Tensor:
    """Compute the mean loss of N objects prompted by boxes, a scalar.

    Args:
        logits: (N, 4, h, w) of the single-mask token and the three multimask tokens.
        scores: (N, 4) predicted IoUs.
        targets: (N, h, w) in [0, 1].
        weights: (N, h, w) in [0, 1]; 0 where the target is void.
    """
    per_mask, score_loss = mask_losses(logits, scores, targets[:, None], weights[:, None], kind)
    single, best_of_three = per_mask[:, 0], per_mask[:, 1:].min(1).values
    return (single + best_of_three + score_loss).mean()


def tracking_loss(model: SAM2Base, batch: Batch, encoded: Backbone, kind: MaskLoss) -> Tensor:
    """Compute the mean loss of the objects of clips in the frames that are not prompted, a scalar.

    Where an object is visible, the best of its masks learns it and all learn to predict their own IoU; the model learns
    in all frames whether the object is visible.
    """
    losses = []
    for t, (logits, ious, visible) in enumerate(track(model, batch, encoded)):
        targets, weights = batch.masks[:, None, t], batch.weights[:, None, t]
        present = (targets > 0.5).flatten(1).any(1)
        losses.append(F.binary_cross_entropy_with_logits(visible[:, 0].float(), present.float()))
        # Where the model predicts that the object is not visible, its mask is a constant without a gradient.
        learned = present & (visible[:, 0] > 0)
        if t == 0 or not learned.any():
            continue
        logits, ious, targets, weights = (each[learned] for each in (logits.float(), ious.float(), targets, weights))
        per_mask, score_loss = mask_losses(logits, ious, targets, weights, kind)
        losses.append((per_mask.min(1).values + score_loss).sum() / len(batch))
    return torch.stack(losses).sum() / batch.pixels.shape[1]


def track(model: SAM2Base, batch: Batch, encoded: Backbone) -> Iterator[tuple[Tensor, ...]]:
    """Follow the objects of clips from the boxes in their first frames, as the official predictor does.

    Gradients flow back through the memory, which is all that later frames know of the objects.

    Args:
        encoded: the encoder's output for the (B * T, 3, S, S) frames.

    Yields:
        for each frame, mask logits (N, M, S/4, S/4), predicted IoUs (N, M) and the logits of being visible (N, 1); M is
        1 where the objects are prompted.
    """
    frames = batch.pixels.shape[1]
    _, features, positions, sizes = model._prepare_backbone_features(encoded)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    prompt = dict(zip(("point_coords", "point_labels"), corners_of(batch.boxes[:, 0])))
    for t in range(frames):
        columns = batch.index * frames + t
        seen, places = [level[:, columns] for level in features], [level[:, columns] for level in positions]
        points = prompt if t == 0 else None
        current, outputs, _, _ = model._track_step(
            t, t == 0, seen, places, sizes, points, None, memory, NUM_FRAMES, False, None
        )
        logits, _, ious, _, full, current["obj_ptr"], visible = outputs
        model._encode_memory_in_output(seen, sizes, points, True, full, visible, current)
        memory["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = current
        yield logits, ious, visible
