"""Colors in place of labels: `labelmap.txt`, as CVAT and datumaro write it into a VOC tree whose maps are RGB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, MAX_CLASSES, VOID, canonical, is_no_class, label_of, match_classes, palette
from utils.errors import UserError
from utils.files import read_user_text
from utils.io.map_files import palette_of, read_index_map, read_object_map
from utils.label_maps import value_counts

LABEL_COLORS = "labelmap.txt"
"""Name of the file; each line is `name:red,green,blue:parts:actions`."""

PIXELS_AT_ONCE = 1 << 22
"""So many are looked up at a time, with 16 bytes for each."""

_UNLABELED = {"background", "unlabeled", "unlabelled"}
"""What stands for the background; other names of no class, such as `ignored`, stand for void."""


class LabelColors:
    """Turn the colors of a map into labels of the run.

    Args:
        path: the `labelmap.txt`.
        classes: class names of the run; None: those that the file lists.

    Attributes:
        path: the same.
        names: class names in the file, without what is no class.

    Raises:
        UserError: the file cannot be read, a line is none of it, two names have one color, or it names no class.
    """

    def __init__(self, path: Path, classes: Sequence[str] | None = None) -> None:
        self.path, colors = path, dict[int, str]()
        for number, line in enumerate(read_user_text(path).split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, color = _name_and_color(line, f"{path}:{number}")
            if (other := colors.setdefault(color, name)) != name:
                raise UserError(f"{path}:{number}: {name} has the color of {other}; give each its own")
        self.names = tuple(dict.fromkeys(name for name in colors.values() if not is_no_class(name)))
        if not 0 < len(self.names) <= MAX_CLASSES:
            raise UserError(f"{path}: expected 1 to {MAX_CLASSES} classes, found {len(self.names)}")
        class_ids = match_classes(self.names, self.names if classes is None else classes)
        labels = {self.names[i]: label_of(class_id) for i, class_id in class_ids.items()}
        for name in filter(is_no_class, colors.values()):
            labels[name] = BACKGROUND if canonical(name) in _UNLABELED else VOID
        colors.setdefault(0, "background")
        labels.setdefault("background", BACKGROUND)
        self._names = colors
        self._table = _table({color: labels[name] for color, name in colors.items() if name in labels})

    def are_meant(self, shown: npt.NDArray[np.uint8], used: npt.NDArray[np.int64], labels: Sequence[int]) -> bool:
        """Tell whether the (K, 3) RGB colors that a palette shows for (K,) values are not those of their labels.

        Programs that make files smaller turn RGB into a palette, whose indices mean nothing. Black tells nothing, since
        palettes may be black where nobody set a color, nor do VOC's colors at VOC's indices for other classes.
        """
        colors = _packed(shown)
        found, listed = self._table[colors], np.isin(colors, [*self._names])
        foreign = listed & (found < 0) & (colors != _packed(palette(256))[used])
        return bool((foreign | ((found >= 0) & (found != labels) & (colors > 0))).any())

    def labels(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the (H, W) label map of an (H, W, 3) RGB picture.

        Raises:
            ValueError: a color is not in the file, or that of a class that the run lacks.
        """
        labels = _looked_up(self._table, picture)
        if (unknown := labels < 0).any():
            what, color = _first_color(picture, unknown)
            if color not in self._names:
                raise ValueError(f"{what} is not in {self.path}")
            missing = f"of {self._names[color]}, which is none of the run's classes"
            raise ValueError(f"{what} is that {missing}; dataset.classes={self.path} names all")
        return labels.astype(np.uint8)


def lists_colors(path: Path) -> bool:
    """Tell whether a file is a `labelmap.txt` of colors; others of this name list class names alone, one per line."""
    return path.name == LABEL_COLORS and path.is_file() and ":" in read_user_text(path)


def load_label_colors(tree: Path, classes: Sequence[str] | None = None) -> LabelColors | None:
    """Load the colors of a VOC tree, if it has a `labelmap.txt` of some; see `LabelColors`."""
    path = tree / LABEL_COLORS
    return LabelColors(path, classes) if lists_colors(path) else None


def read_label_map(path: Path, colors: LabelColors | None, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Read the (H, W) values of a label map, or the (H, W, 3) RGB colors that stand for labels.

    Args:
        colors: those of the tree's labels, if it has some.
        labels: (256,) what values mean. A palette that shows the colors of other labels counts by them.

    Raises:
        ValueError: it cannot be read.
    """
    values = read_index_map(path, colored=colors is not None)
    if colors is None or values.ndim == 3:
        return values
    shown, used = _shown(path, values)
    return shown[values] if shown is not None and colors.are_meant(shown[used], used, labels[used].tolist()) else values


def _shown(path: Path, values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.int64]]:
    """Return the (K, 3) RGB palette of an index map, if each of its values has a color of its own; and these values."""
    used, shown = np.flatnonzero(value_counts(values)), palette_of(path)
    if shown is None or used.max(initial=0) >= len(shown) or len(np.unique(_packed(shown[used]))) < len(used):
        return None, used
    return shown, used


def read_objects(path: Path, colors: LabelColors | None) -> npt.NDArray[np.uint8 | np.uint16]:
    """Read the (H, W) numbers of objects, see `read_object_map`.

    Args:
        colors: those of the tree's labels. Where it has some, its object maps may have colors, too, also in a palette:
            those that VOC's palette has for the numbers.

    Raises:
        ValueError: it cannot be read, or a color is not in the palette.
    """
    picture = read_object_map(path, colored=colors is not None)
    if colors is not None and picture.ndim == 2 and picture.dtype == np.uint8:
        shown, used = _shown(path, picture)
        if shown is not None and (_palette_table()[_packed(shown[used])] >= 0).all():
            picture = shown[picture]
    if picture.ndim == 2:
        return picture
    numbers = _looked_up(_palette_table(), picture)
    if (unknown := numbers < 0).any():
        what, _ = _first_color(picture, unknown)
        raise ValueError(f"{what} is not in VOC's palette, whose colors stand for object numbers")
    return numbers.astype(np.uint8)


@cache
def _palette_table() -> npt.NDArray[np.int16]:
    return _table({color: number for number, color in enumerate(_packed(palette(256)).tolist())})


def _table(values: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """Return the value of each color, (2 ** 24,); -1: none."""
    table = np.full(1 << 24, -1, np.int16)
    table[[*values.keys()]] = [*values.values()]
    return table


def _looked_up(table: npt.NDArray[np.int16], picture: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Look up the values of (H, W, 3) RGB pixels: (H, W)."""
    height, width = picture.shape[:2]
    values, rows = np.empty((height, width), np.int16), max(1, PIXELS_AT_ONCE // max(1, width))
    for top in range(0, height, rows):
        values[top : top + rows] = table[_packed(picture[top : top + rows])]
    return values


def _packed(colors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return (..., 3) RGB colors as numbers of 24 bits: (...)."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _first_color(picture: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> tuple[str, int]:
    """Return what messages call the first color of an RGB picture where (H, W) `where` holds, and its number."""
    y, x = np.unravel_index(np.argmax(where), where.shape)  # a list of all would take 16 bytes for each
    color = int(_packed(picture[y, x]))
    return f"the color {color >> 16},{color >> 8 & 255},{color & 255} (x {x}, y {y})", color


def _name_and_color(line: str, place: str) -> tuple[str, int]:
    name, _, rest = (each.strip() for each in line.partition(":"))
    channels = rest.partition(":")[0].split(",")
    if not name or len(channels) != 3 or not all(each.strip().isdecimal() and int(each) < 256 for each in channels):
        raise UserError(f"{place}: expected a name and its color, such as car:250,50,83::, found {line.strip()!a}")
    return name, int(_packed(np.array([*map(int, channels)], np.uint8)))
