"""labelme JSON: shapes with their points, whoever drew them; https://github.com/wkentaro/labelme."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.json_reading import describe, read_json

FLAT_KINDS = ("point", "points", "line", "linestrip")
"""Shape types that enclose nothing."""


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        label: the class name as it was written.
        kind: labelme's `shape_type`, such as `rectangle`, `polygon` or `mask`.
        points: (K, 2) float64 x y in pixels, K >= 1. Those of a mask are the two inclusive corners of its crop.
        group_id: shapes of one label and group id are parts of one object; None: an object of its own.
        mask: the base64 PNG of a mask's crop, or None.
        scores: `score` and `mask_score` within [0, 1], where the shape has them.
    """

    label: str
    kind: str
    points: np.ndarray
    group_id: int | None
    mask: str | None
    scores: Mapping[str, float]

    def box(self) -> np.ndarray | None:
        """The tight box, (4,) float64 x1 y1 x2 y2 in pixels, or None for a shape that encloses nothing."""
        if self.kind in FLAT_KINDS:
            return None
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        if self.kind == "circle":  # its centre and a point of its rim
            radius = np.hypot(*(high - low))
            low, high = self.points[0] - radius, self.points[0] + radius
        return np.concatenate([low, high + (self.kind == "mask")])


def read_shapes(path: Path) -> list[Shape]:
    """The shapes of a labelme file, in its order.

    Raises:
        UserError: the file cannot be read or is none of labelme's.
    """
    return shapes_of(read_labelme_json(path), path)


def read_labelme_json(path: Path) -> dict[str, Any]:
    """What a labelme file says; it has a list of shapes.

    Raises:
        UserError: the file cannot be read or is none of labelme's.
    """
    content = read_json(path, json.loads)  # labelme, too, writes and reads NaN
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise UserError(f"{path}: not a labelme file: it has no list of shapes")
    return content


def shapes_of(content: Mapping[str, Any], path: Path) -> list[Shape]:
    """The shapes of a labelme file that is already read.

    Raises:
        UserError: a shape is malformed.
    """
    return [_shape(entry, f"{path}: shapes[{i}]") for i, entry in enumerate(content["shapes"])]


def _shape(entry: Any, place: str) -> Shape:
    if not isinstance(entry, dict):
        raise UserError(f"{place}: expected an object, found {describe(entry)}")
    label, group_id, mask = entry.get("label"), entry.get("group_id"), entry.get("mask")
    kind = entry.get("shape_type", "polygon")  # files of labelme's first years have polygons only
    if not isinstance(label, str):
        raise UserError(f"{place}.label: expected a string, found {describe(label)}")
    if not isinstance(kind, str):
        raise UserError(f"{place}.shape_type: expected a string, found {describe(kind)}")
    if group_id is not None and type(group_id) is not int:
        raise UserError(f"{place}.group_id: expected an integer, found {describe(group_id)}")
    if mask is not None and not isinstance(mask, str):
        raise UserError(f"{place}.mask: expected a string, found {describe(mask)}")
    scores = {key: score for key in ("score", "mask_score") if (score := _score(entry.get(key))) is not None}
    return Shape(label, kind, _points(entry.get("points"), f"{place}.points"), group_id, mask, scores)


def _points(value: Any, place: str) -> np.ndarray:
    try:
        points = np.array(value)
    except ValueError:  # rows of unequal lengths
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "if" or not np.isfinite(points).all():
        raise UserError(f"{place}: expected a list of points [x, y], found {describe(value)}")
    return points.astype(np.float64)


def _score(value: Any) -> float | None:
    """A score within [0, 1]; other tools may mean something else by the key."""
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None
