"""A model, images and boxes for the tests of the segmenter on other devices and with compiled passes."""

from __future__ import annotations

import numpy as np
import torch

from models.sam2_build import build_sam2
from tests.helpers.track import DEMO_CONFIG

SIZE = (90, 160)
"""(height, width) of all images."""


def random_image_model(image_size: int) -> torch.nn.Module:
    """Random weights whose masks cover a part of the image."""
    torch.manual_seed(0)
    model = build_sam2(DEMO_CONFIG, image_size)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 30
        head.layers[-1].bias.data = head.layers[-1].bias.data * 30 + 0.5
    return model


def images_and_boxes(counts: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each count an image, and so many boxes in it."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (9, 16, 3), np.uint8).repeat(10, 0).repeat(10, 1) for _ in counts]
    corners = [rng.uniform(0, (80, 40), (count, 2)) for count in counts]
    boxes = [np.hstack([corner, corner + rng.uniform(10, 50, corner.shape)]) for corner in corners]
    return images, [each.astype(np.float32) for each in boxes]
