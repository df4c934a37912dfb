"""SAM2's losses against torch, torchvision and plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from sam.losses import dice_loss, mask_iou, pixel_loss, prompted_mask_loss


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and hard targets, (5, 9, 7) each."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 9, 7, generator=generator) * 3
    return logits, (torch.rand(5, 9, 7, generator=generator) > 0.6).float()


def test_focal_loss_equals_torchvisions_on_hard_targets(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = masks
    theirs = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2).mean((1, 2))
    torch.testing.assert_close(pixel_loss(logits, targets, torch.ones_like(targets), "focal"), theirs)


def test_cross_entropy_equals_torchs(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = masks
    theirs = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2))
    torch.testing.assert_close(pixel_loss(logits, targets, torch.ones_like(targets), "bce"), theirs)


def test_dice_is_zero_for_a_perfect_mask_and_near_one_for_a_disjoint_one() -> None:
    target = torch.zeros(1, 20, 20)
    target[:, :10] = 1
    everywhere = torch.ones_like(target)
    perfect = (target * 2 - 1) * 100
    assert dice_loss(perfect, target, everywhere).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-perfect, target, everywhere).item() == pytest.approx(1, abs=0.01)
    half = torch.full_like(target, 0.0)  # probability 0.5 everywhere: 2 * 100 / (200 + 200), smoothed by one
    assert dice_loss(half, target, everywhere).item() == pytest.approx(1 - 201 / 401)


def test_mask_iou_counts_pixels(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = masks
    predicted, actual = logits > 0, targets > 0
    expected = (predicted & actual).sum((1, 2)) / (predicted | actual).sum((1, 2))
    torch.testing.assert_close(mask_iou(logits, targets, torch.ones_like(targets)), expected)
    nothing = torch.full((1, 3, 3), -1.0)
    assert mask_iou(nothing, torch.zeros(1, 3, 3), torch.ones(1, 3, 3)).item() == 1


@pytest.mark.parametrize("kind", ["focal", "bce"])
def test_void_pixels_change_nothing(masks: tuple[torch.Tensor, torch.Tensor], kind: str) -> None:
    logits, targets = masks
    weights = torch.ones_like(targets)
    weights[:, :, 4:] = 0
    other = torch.where(weights > 0, logits, -7 * logits)
    for loss in (dice_loss, mask_iou, lambda *maps: pixel_loss(*maps, kind)):
        torch.testing.assert_close(loss(logits, targets, weights), loss(other, targets, weights))


def test_only_the_best_of_the_three_masks_learns_but_every_score_does() -> None:
    targets = torch.zeros(1, 8, 8)
    targets[:, :4] = 1
    right = (targets * 2 - 1) * 3
    logits = torch.stack([right, -right, right, -right], dim=1).requires_grad_()
    scores = torch.full((1, 4), 0.5, requires_grad=True)
    prompted_mask_loss(logits, scores, targets, torch.ones_like(targets), "bce").backward()
    learns = logits.grad.abs().sum((0, 2, 3)) > 0
    assert learns.tolist() == [True, False, True, False]
    assert scores.grad.sign().tolist() == [[-1, 1, -1, 1]]
