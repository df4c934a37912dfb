"""What a camera does to a scene: exposure, colour cast, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.textures import speckled


@dataclass(frozen=True)
class Camera:
    """Settings that hold for one picture, or for all frames of one clip.

    Attributes:
        gain: factors of red, green and blue.
        gamma: exponent of the lightness curve.
        blur: standard deviation in px.
        noise: standard deviation in grey levels.
        contrast: below 1, the picture fades towards an even grey.
        corners: share of the light that is lost in the corners, 0 to 1.
        grey: whether colour is lost.
        quality: of an extra JPEG compression, or None.
    """

    gain: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    contrast: float = 1.0
    corners: float = 0.0
    grey: bool = False
    quality: int | None = None

    @classmethod
    def good(cls, dice: Dice) -> Camera:
        """A camera that hardly shows."""
        red, green, blue = (dice.free(0.9, 1.12) for _ in range(3))
        noise = dice.free(2.0, 5.0)
        return cls((red, green, blue), dice.free(0.85, 1.1), dice.free(0.45, 0.8), noise)

    @classmethod
    def rough(cls, dice: Dice) -> Camera:
        """A camera, light and storage of any quality."""
        red, green, blue = (dice.free(0.8, 1.2) for _ in range(3))
        return cls(
            (red, green, blue),
            gamma=dice.free(0.75, 1.2),
            blur=dice.free(0.35, 0.8) if dice.chance(0.75) else dice.free(0.8, 1.8),
            noise=14.0 * dice.free(0.0, 1.0) ** 2,
            contrast=dice.free(0.4, 0.9) if dice.chance(0.3) else 1.0,
            corners=dice.free(0.2, 0.8) if dice.chance(0.3) else 0.0,
            grey=dice.chance(0.1),
            quality=dice.count(25, 85) if dice.chance(0.35) else None,
        )

    def photograph(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture that this camera takes of `image`, both uint8 (H, W, 3) RGB."""
        if self.grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.corners > 0:
            image = _darken_corners(image, self.corners)
        image = cv2.GaussianBlur(cv2.LUT(image, self._levels()), (0, 0), self.blur)
        image = speckled(image, rng, self.noise)
        if self.quality is not None:
            _, stored = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))
        return image

    def _levels(self) -> np.ndarray:
        curve = (np.arange(256) / 255)[:, None] ** self.gamma * self.gain
        faded = 127.0 + self.contrast * (255 * curve - 127.0)
        return np.clip(faded, 0, 255).astype(np.uint8)[None]


def _darken_corners(image: np.ndarray, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    keep = cv2.convertScaleAbs(1 - np.float32(strength / 2) * (x * x + y * y), alpha=255)
    return cv2.multiply(image, cv2.merge([keep, keep, keep]), scale=1 / 255)
