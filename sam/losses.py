"""Losses for SAM2's mask decoder: focal or cross entropy, dice, and the error of the predicted IoU.

The recipe of SAM (https://arxiv.org/abs/2304.02643, appendix A) and SAM2 (https://arxiv.org/abs/2408.00714, appendix
D): of the three multimask outputs only the best one learns the mask, all of them learn to predict their own IoU.
Targets are soft, the share of each logit's cell that the object covers, so boundaries are learnt below cell size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from utils.config import MaskLoss

FOCAL_GAMMA = 2.0
FOCAL_ALPHA = 0.25
PIXEL_LOSS_WEIGHT = {"focal": 20.0, "bce": 1.0}


def pixel_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, kind: MaskLoss) -> torch.Tensor:
    """Mean loss of the pixels of each mask, (...,) for logits, targets and weights of (..., h, w); targets in [0, 1].

    `focal` weighs each pixel by its error squared (https://arxiv.org/abs/1708.02002), extended to soft targets as in
    quality focal loss (https://arxiv.org/abs/2006.04388). Pixels of weight 0 are left out.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets.expand_as(logits), reduction="none")
    if kind == "focal":
        balance = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
        loss = balance * (logits.sigmoid() - targets).abs().pow(FOCAL_GAMMA) * loss
    return (loss * weights).sum((-2, -1)) / weights.sum((-2, -1)).clamp(min=1)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice of each mask, (...,) in [0, 1]; one is added above and below, so an empty pair loses nothing."""
    probabilities = logits.sigmoid() * weights
    targets = targets * weights
    overlap = 2 * (probabilities * targets).sum((-2, -1))
    return 1 - (overlap + 1) / (probabilities.sum((-2, -1)) + targets.sum((-2, -1)) + 1)


def mask_iou(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """IoU of each mask cut at logit 0 with its target cut at 0.5, (...,) in [0, 1]; 1 where both are empty."""
    predicted, actual = (logits > 0) & (weights > 0), (targets > 0.5) & (weights > 0)
    intersection = (predicted & actual).sum((-2, -1))
    union = (predicted | actual).sum((-2, -1))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def mask_losses(
    logits: torch.Tensor, scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, kind: MaskLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each of N objects' M masks lacks, (N, M), and the mean error of their scores, (N,).

    Args:
        logits: (N, M, h, w).
        scores: (N, M) predicted IoUs.
        targets, weights: (N, 1, h, w) in [0, 1].
    """
    per_mask = PIXEL_LOSS_WEIGHT[kind] * pixel_loss(logits, targets, weights, kind)
    per_mask = per_mask + dice_loss(logits, targets, weights)
    return per_mask, (scores - mask_iou(logits.detach(), targets, weights)).abs().mean(1)


def prompted_mask_loss(
    logits: torch.Tensor, scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, kind: MaskLoss
) -> torch.Tensor:
    """The loss of N prompted objects, a scalar.

    Args:
        logits: (N, 4, h, w) of the single-mask token and the three multimask tokens.
        scores: (N, 4) predicted IoUs.
        targets: (N, h, w) in [0, 1].
        weights: (N, h, w) in [0, 1]; 0 where the target is void.
    """
    per_mask, score_loss = mask_losses(logits, scores, targets[:, None], weights[:, None], kind)
    single, best_of_three = per_mask[:, 0], per_mask[:, 1:].min(1).values
    return (single + best_of_three + score_loss).mean()
