"""What stands in a picture."""

from __future__ import annotations

import cv2
import numpy as np


def contains(image: np.ndarray, part: np.ndarray) -> bool:
    """Whether the part stands somewhere in the image, pixel by pixel."""
    if part.shape[0] > image.shape[0] or part.shape[1] > image.shape[1]:
        return False
    difference = cv2.matchTemplate(image, np.ascontiguousarray(part), cv2.TM_SQDIFF)
    y, x = np.unravel_index(difference.argmin(), difference.shape)
    return np.array_equal(image[y : y + part.shape[0], x : x + part.shape[1]], part)
