"""Objects of labelme files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.exporters.stamps import mask_pixels
from utils.strict_json import read_json
from utils.structures import Mask


def read_objects(path: Path, size: tuple[int, int]) -> list[tuple[str, Mask]]:
    """Label and mask of each object."""
    objects = []
    for shape in read_json(path)["shapes"]:
        full = np.zeros(size, np.uint8)
        if shape["shape_type"] == "mask":
            (left, top), (right, bottom) = np.array(shape["points"], int)
            full[top : bottom + 1, left : right + 1] = mask_pixels(shape["mask"])
        else:
            cv2.fillPoly(full, [np.array(shape["points"], np.float64).round().astype(np.int32)], 1)
        objects.append((shape["label"], Mask.of(full)))
    return objects
