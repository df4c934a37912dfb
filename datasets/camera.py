"""What a camera does to a scene: exposure, colour cast, blur, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np

from datasets.dice import Dice


def photograph(image: np.ndarray, dice: Dice, *, rough: bool = False) -> np.ndarray:
    """`image`, uint8 (H, W, 3), as a camera might have caught it; same shape and dtype.

    `rough` adds what spoils real photographs: low contrast, no colour, dark
    corners, strong noise and JPEG blocks.
    """
    gain = 0.85 + 0.3 * dice.rng.random(3)
    gamma = dice.free(0.85, 1.2)
    if rough:
        image = _spoil(image, dice)
    levels = 255 * (np.arange(256) / 255)[:, None] ** gamma * gain
    image = cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[None])
    blur = dice.free(0.35, 0.8) if not rough or dice.chance(0.7) else dice.free(0.8, 1.8)
    image = cv2.GaussianBlur(image, (0, 0), blur)
    image = add_noise(image, dice, dice.free(0.0, 14.0 if rough else 5.0))
    if rough and dice.chance(0.35):
        image = _recompress(image, dice.count(25, 85))
    return image


def add_noise(image: np.ndarray, dice: Dice, sigma: float) -> np.ndarray:
    """`image` with noise of standard deviation `sigma` (0..255) added to its lightness."""
    noise = dice.rng.integers(-128, 128, image.shape[:2], np.int8)
    spread = (noise * np.float32(sigma / 74.0)).round().astype(np.int16)
    return cv2.add(image, cv2.merge([spread, spread, spread]), dtype=cv2.CV_8U)


def vignette(image: np.ndarray, strength: float) -> np.ndarray:
    """`image` with corners that lose `strength` (0..1) of their light."""
    height, width = image.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    keep = cv2.convertScaleAbs(1 - np.float32(strength / 2) * (x * x + y * y), alpha=255)
    return cv2.multiply(image, cv2.merge([keep, keep, keep]), scale=1 / 255)


def _spoil(image: np.ndarray, dice: Dice) -> np.ndarray:
    if dice.chance(0.12):
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if dice.chance(0.3):
        contrast = dice.free(0.35, 0.8)
        image = cv2.convertScaleAbs(image, alpha=contrast, beta=dice.free(0, 255 * (1 - contrast)))
    if dice.chance(0.3):
        image = vignette(image, dice.free(0.2, 0.8))
    return image


def _recompress(image: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)
