"""Match class names, and give classes their labels and colors."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from utils.errors import UserError
from utils.files import read_user_text

BACKGROUND = 0
"""Label of a pixel that belongs to no class."""

VOID = 255
"""Label of a pixel that is not counted."""

MAX_CLASSES = 254
"""Largest number of classes in a label map: it is uint8, and two of its values are the background and void."""

_VOC_TO_COCO = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

_NO_CLASS = {"background", "ignore", "ignored", "unlabeled", "unlabelled", "void"}

ClassIds = TypeVar("ClassIds", int, np.ndarray)


def label_of(class_id: ClassIds) -> ClassIds:
    """Return the label of a 0-based class id, or of an array of them: id + 1, since label 0 is the background."""
    return class_id + 1


def class_id_of(label: ClassIds) -> ClassIds:
    """Return the 0-based class id of a label, or of an array of them; none may be background or void."""
    return label - 1


def canonical(name: str) -> str:
    """Normalize a class name, so that names of the same class become equal: case, separators, VOC's own words.

    `Potted-Plant`, `potted_plant` and VOC's `pottedplant` all become `potted plant`.
    """
    plain = unicodedata.normalize("NFC", name).casefold()
    spaced = re.sub(r"[\s_-]+", " ", plain).strip()
    return _VOC_TO_COCO.get(spaced, spaced)


LABELME_NO_CLASSES = {"__ignore__", "_background_"}
"""What labelme's class lists begin with: labels -1 and 0, so the class after them has label 1, as here."""


def is_no_class(name: str) -> bool:
    """Return whether a name means pixels of no class: `background`, labelme's `__ignore__` and `_background_`, ..."""
    return canonical(name) in _NO_CLASS


def nearest(name: str, names: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the most similar of `names`, to suggest for a misspelled `name`; None if none is similar.

    Args:
        cutoff: the least similarity from 0 to 1, that of `difflib`.
    """
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def match_classes(source: Sequence[str], target: Sequence[str]) -> dict[int, int]:
    """Map class ids of one list of names to another's, by name and alias.

    Several source names may mean one target (`sofa` and `couch`). Where several targets have the same meaning, the one
    written exactly as the source is taken, else the first. Source names without a target are left out.
    """
    exact: dict[str, int] = {}
    alike: dict[str, int] = {}
    for class_id, name in enumerate(target):
        exact.setdefault(name, class_id)
        alike.setdefault(canonical(name), class_id)
    found = ((class_id, exact.get(name, alike.get(canonical(name)))) for class_id, name in enumerate(source))
    return {source_id: target_id for source_id, target_id in found if target_id is not None}


class ClassIndex:
    """Look up the class ids of names in files.

    Args:
        names: class names, indexed by class id.
        others: further names that files may have, with the class ids that they mean.
    """

    def __init__(self, names: Sequence[str], others: Mapping[str, int] | None = None) -> None:
        self.names = names
        self._texts, self._ids = [*names, *(others or {})], [*range(len(names)), *(others or {}).values()]
        self._known: dict[str, int | None] = {}

    def class_id(self, name: str, place: str) -> int:
        """Return the class id of a name or of an alias of it.

        Args:
            place: file and place of the name, for the message.

        Raises:
            UserError: no class has this name; the message suggests the nearest one.
        """
        if name not in self._known:
            position = match_classes([name], self._texts).get(0)
            self._known[name] = None if position is None else self._ids[position]
        class_id = self._known[name]
        if class_id is None:
            close = nearest(name, self._texts)
            missing = "it is no class; leave it out" if is_no_class(name) else "dataset.classes has to name it"
            hint = f'did you mean "{close}"?' if close else missing
            raise UserError(f'{place}: "{name}" is none of the {len(self.names)} classes; {hint}')
        return class_id


def load_class_names(value: Sequence[str] | Path, where: str = "class names") -> tuple[str, ...]:
    """Load class names from a list or a file: UTF-8 text with one name per line, or Ultralytics' `data.yaml`.

    Class ids are positions from 0.

    Args:
        value: the names themselves or the file's path. Blank lines at the end of a file are ignored.
        where: names a list in messages, such as the config key that it came from.

    Raises:
        UserError: the file cannot be read, there is no name, a name is blank, or two names mean the same class.
    """
    if isinstance(value, Path) and value.suffix.lower() in (".yaml", ".yml"):
        return _checked(yaml_names(value), lambda index: f"{value}: names[{index}]", str(value))
    if isinstance(value, Path):
        return _checked(_lines(value), lambda index: f"{value}, line {index + 1}", str(value))
    return _checked(value, lambda index: f"{where}[{index}]", where)


def yaml_names(path: Path) -> list[str]:
    """Return the class names of ultralytics' `data.yaml`, whose `names` is a list or maps 0, 1, ... to names.

    Names are read as texts, as they are written, also `no`, `null`, `010`, `12:30` and `1.10`.

    Raises:
        UserError: the file cannot be read or has no such names, or its `nc` is another number of classes.
    """
    content = read_yaml(path)
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict) and set(names) == set(map(str, range(len(names)))):
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: names: expected a list of class names, or names by class id from 0")
    if isinstance(count, str) and count.isdecimal() and int(count) != len(names):
        raise UserError(f"{path}: nc is {int(count)}, but names has {len(names)} classes; correct one of the two")
    return names


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose content is a mapping, with all scalars as texts; return {} for any other content.

    Raises:
        UserError: the file cannot be read.
    """
    import yaml

    try:
        # The loader that resolves no types: to the others `no` is false, `010` is 8 and `12:30` is 750.
        content: Any = yaml.load(read_user_text(path), yaml.BaseLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    return content if isinstance(content, dict) else {}


def _lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file (with or without a byte order mark), without blank ones at the end.

    Only line feeds end a line: `str.splitlines` would also cut a name at a form feed or at U+2028.
    """
    text = read_user_text(path).rstrip()
    return text.split("\n") if text else []


def _checked(names: Sequence[str], place: Callable[[int], str], whole: str) -> tuple[str, ...]:
    """Strip blanks around names; raise UserError, with the place, if one is blank or two mean the same class."""
    first_use: dict[str, int] = {}
    stripped = tuple(name.strip() for name in names)
    for index, name in enumerate(stripped):
        if not name:
            raise UserError(f"{place(index)}: a class name is blank")
        earlier = first_use.setdefault(canonical(name), index)
        if earlier != index:
            twin = f'"{stripped[earlier]}" at {place(earlier)}'
            raise UserError(f'{place(index)}: "{name}" names the same class as {twin}')
    if not names:
        raise UserError(f"{whole}: there are no class names")
    return stripped


CLASS_NAMES = "class_names.txt"
"""File in which annotation folders and VOC trees of this project name the classes, one a line."""

CLASSES_FILE = "classes.txt"
"""File in which labelImg and Label Studio keep the class names: among the labels, or beside them."""

NAMES_FILES = (CLASSES_FILE, "data.yaml", "data.yml", "obj.names")
"""Files that name the classes of a dataset; obj.names is CVAT's and darknet's."""


_CLASS_LISTS = (CLASSES_FILE, CLASS_NAMES, "labelmap.txt")
_OTHER_TEXTS = re.compile(r"(train|val|valid|validation|test|readme.*)\.txt", re.IGNORECASE)


def is_no_label_file(path: Path) -> bool:
    """Tell whether a text file in a dataset holds no labels of an image: it lists classes or images, or is a README.

    Its name alone does not tell: a `classes.txt` may hold the labels of a `classes.jpg`. CVAT writes a `labelmap.txt`
    with the colors of classes, and a `train.txt` with paths of images.

    Raises:
        UserError: it cannot be read.
    """
    if path.name in _CLASS_LISTS:
        lines = [line.split() for line in _lines(path)]
        return any(line and (len(line) < 5 or not all(map(_is_number, line))) for line in lines)
    is_other = bool(_OTHER_TEXTS.fullmatch(path.name))
    return is_other and any(line.strip() and not _is_number(line.split()[-1]) for line in _lines(path))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ClassNames(NamedTuple):
    """Hold the class names of a dataset and their file; `keypoints` counts the numbers of one object's keypoints."""

    path: Path
    names: tuple[str, ...]
    keypoints: int


def find_class_names(folder: Path) -> ClassNames | None:
    """Find the class names of a folder of labels: in it, beside it, or one folder higher, the nearest first.

    Ultralytics lays datasets out like this: `data.yaml` beside `labels/train/` or beside `train/labels/`.

    Raises:
        UserError: a file cannot be read, or two files at the same level name different classes.
    """
    paths = sorted(path for path in folder.rglob("*") if path.name in NAMES_FILES)
    inside = [path for path in paths if not path.relative_to(folder).parts[0].startswith(".")] or _beside(folder)
    for level in (inside, *(_beside(parent) for parent in folder.parents[:2])):
        found = [names for path in level if (names := _class_names(path)) is not None]
        for other in found[1:]:
            if [*map(canonical, other.names)] != [*map(canonical, found[0].names)]:
                both = f"{found[0].path} and {other.path}"
                raise UserError(f"{both} name different classes; --prompt-names says which are right")
        if found:
            return found[0]
    return None


def _beside(folder: Path) -> list[Path]:
    """List the files with class names in a folder; where none has a usual name, the only YAML file."""
    usual = [path for name in NAMES_FILES if (path := folder / name).is_file()]
    others = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return usual or (others if len(others) == 1 else [])


def _class_names(path: Path) -> ClassNames | None:
    """Read a file of class names; None if it is another file: labels, or a YAML file without names.

    Raises:
        UserError: it has a usual name, but cannot be read; files with other names are ignored then.
    """
    if path.suffix not in (".yaml", ".yml"):
        is_other = path.name == CLASSES_FILE and not is_no_label_file(path)
        return None if is_other else ClassNames(path, load_class_names(path), 0)
    try:
        content = read_yaml(path)
        if not content.get("names"):
            return None
        return ClassNames(path, load_class_names(path), _keypoints(content.get("kpt_shape"), path))
    except UserError:
        if path.name in NAMES_FILES:
            raise
        return None


def _keypoints(shape: object, path: Path) -> int:
    """Return how many numbers the keypoints of a row are; a YAML file of poses says so by `kpt_shape: [17, 3]`."""
    if not shape:
        return 0
    sides = [str(side) for side in shape] if isinstance(shape, list) else [""]
    if not all(re.fullmatch("[0-9]{1,4}", side) for side in sides):
        raise UserError(f"{path}: kpt_shape: expected two integers, such as [17, 3], found {shape}")
    return math.prod(map(int, sides))


def palette(count: int) -> np.ndarray:
    """Return the (count, 3) uint8 RGB colors of labels 0 to count - 1 as Pascal VOC defines them; count is at most 256.

    Bits 0, 1 and 2 of a label become the highest bits of red, green and blue, bits 3 to 5 the next ones, and so on.
    """
    labels = np.arange(count)
    colors = np.zeros((count, 3), np.uint8)
    for digit in range(3):
        for channel in range(3):
            bit = labels >> (3 * digit + channel) & 1
            colors[:, channel] |= (bit << (7 - digit)).astype(np.uint8)
    return colors


VOC_PALETTE = palette(256).tobytes()
"""Argument of PIL's `putpalette`, to color a label map as VOC does."""

COCO_CLASSES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"),
    *("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed"),
    *("dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven"),
    *("toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""The 80 names in the order of detectors trained on COCO."""

_NEVER_USED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # COCO drew up 91 categories and labelled 80

COCO_IDS = tuple(category_id for category_id in range(1, 91) if category_id not in _NEVER_USED)
"""COCO's own category ids of these names."""
