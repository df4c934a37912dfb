"""A color for each class or track: bright, saturated and distinct, so that it is visible on any photograph."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from utils.classes import MAX_CLASSES

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

DARK: Color = (16, 16, 16)

GREY: Color = (128, 128, 128)

WHITE: Color = (255, 255, 255)

NUM_TRACK_COLORS = 20
"""Number of colors of tracks: those of the first classes, which differ most."""

# Oklab (Björn Ottosson): a color space whose distances approximate perceived differences.
_OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)

_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Shares of linear red, green and blue in the relative luminance of WCAG 2."""


def class_color(class_id: int) -> Color:
    """Return the color of a class, the same in every image and every run; colors repeat after MAX_CLASSES."""
    red, green, blue = _class_colors()[class_id % MAX_CLASSES]
    return int(red), int(green), int(blue)


def track_color(track_id: int) -> Color:
    """Return the color of a track, the same in every frame; colors repeat after NUM_TRACK_COLORS."""
    return class_color((track_id - 1) % NUM_TRACK_COLORS)


def text_color(background: Color) -> Color:
    """Choose dark or white, whichever contrasts more with the background (relative luminance of WCAG 2)."""
    luminance = float(_linear(np.array(background) / 255) @ LUMINANCE)
    return DARK if luminance > 0.179 else WHITE


@lru_cache(maxsize=1)
def _class_colors() -> np.ndarray:
    """Compute (MAX_CLASSES, 3) uint8 RGB by farthest-point sampling, so the first colors differ most.

    sRGB reaches much further in magenta than in any other hue, and by plain distances every third color would be one.
    So chroma counts by its square root: hue and lightness decide. Distances are weighted by vividness, since vivid
    colors stand out from a photograph more than pale ones.
    """
    oklab, rgb = _candidates()
    chroma = np.hypot(oklab[:, 1], oklab[:, 2])
    places = np.column_stack([1.2 * oklab[:, 0], oklab[:, 1:] / np.sqrt(chroma)[:, None]])
    chosen = [int(np.abs(rgb - (1.0, 0.3, 0.3)).sum(axis=1).argmin())]
    distance = np.full(len(places), np.inf)
    while len(chosen) < MAX_CLASSES:
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
        chosen.append(int((distance * chroma**0.35).argmax()))
    return np.round(rgb[chosen] * 255).astype(np.uint8)


def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Compute (K, 3) Oklab and (K, 3) RGB in [0, 1] of the colors to choose from: neither dark nor pale nor grey.

    Those on which neither dark nor white text has a contrast of 4.5, as WCAG 2 asks for, are left out.
    """
    lightness, chroma, hue = np.meshgrid(
        np.linspace(0.55, 0.88, 10), np.linspace(0.13, 0.3, 12), np.linspace(0, 2 * np.pi, 120, endpoint=False)
    )
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).reshape(-1, 3)
    linear = (oklab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T
    luminance = linear @ LUMINANCE
    shown = ((linear >= 0) & (linear <= 1)).all(axis=1) & ((luminance < 0.17) | (luminance > 0.21))
    oklab, linear = oklab[shown], linear[shown]
    return oklab, np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _linear(srgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values in [0, 1] to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
