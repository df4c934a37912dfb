"""The kinds of values that config keys take: how each is read, checked, and described in the JSON schema."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr, WithJsonSchema

from utils.classes import LABELME_NO_CLASSES, load_class_names, nearest
from utils.config.official import home_of
from utils.formats.coco_reader import category_names
from utils.formats.label_colors import LabelColors, lists_colors
from utils.formats.registry import FORMATS
from utils.io.json_files import Location, describe, get, path_problem, read_json, value_problem
from utils.io.terminal import warn

SECTION = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""How pydantic treats every section."""


@dataclass(frozen=True)
class Located:
    """Mark a key whose value depends on where it stands; `read` makes it, and leaves wrong types for pydantic."""

    read: Callable[[Any, Location], Any]


def absolute(value: Any, at: Location) -> Any:
    """Make a text the absolute path that it means. UserError if it can name no file."""
    if isinstance(value, (str, Path)) and (problem := path_problem(value)):
        raise at.error(problem)
    return at.folder / os.path.expanduser(value) if isinstance(value, (str, Path)) else value


def _weights(value: Any, at: Location) -> Any:
    """Make a text the absolute path that it means; an official name without a folder means its home."""
    return (home_of(value) if isinstance(value, str) else None) or absolute(value, at)


def _weights_or_scratch(value: Any, at: Location) -> Any:
    return value if value == "scratch" else _weights(value, at)


def _file_or_name(value: Any, at: Location) -> Any:
    """Make a text the absolute path of a file if there is one; else it stays a name, which a package knows."""
    file = absolute(value, at)
    return str(file) if isinstance(file, Path) and os.path.isfile(file) else value


def _class_names(value: Any, at: Location) -> Any:
    """Read class names from the file that a text names, or check those of a list."""
    if isinstance(value, str):
        path = absolute(value, at)
        if path.suffix.lower() == ".json":
            names = load_class_names(category_names(path), f"{path}: category names")
        else:
            names = LabelColors(path).names if lists_colors(path) else load_class_names(path)
        kept = names[sum(1 for _ in takewhile(LABELME_NO_CLASSES.__contains__, names)) :]
        if kept and kept != names:
            left_out = ", ".join(names[: -len(kept)])
            warn([f"{value}: {left_out}: left out; labelme lists them, but they are no classes"])
        return kept or names
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return value
    if problem := value_problem(value, is_path=False):
        raise at.error(problem)
    return load_class_names(value, at.name)


_TEXT_OR_LIST = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}

Natural = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=1)]
Pixels = Annotated[int, Field(strict=True, ge=32)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
PositiveOrZero = Annotated[float, Field(strict=True, ge=0)]
ClassNames = Annotated[tuple[StrictStr, ...] | None, Located(_class_names), WithJsonSchema(_TEXT_OR_LIST)]
Weights = Annotated[Path | None, Located(_weights)]
WeightsOrScratch = Annotated[Path | Literal["scratch"] | None, Located(_weights_or_scratch)]
FileOrName = Annotated[StrictStr, Located(_file_or_name)]
FileOrNameOrNone = Annotated[str | None, Field(strict=True), Located(_file_or_name)]


ALL_OTHERS = "*"
"""Stands for all classes that thresholds do not name."""


def _thresholds(value: Any, at: Location) -> Any:
    """Read the thresholds of classes from the JSON file that a text names, such as the one that `--tune` writes."""
    if not (isinstance(value, str) and value.endswith(".json")):
        return value
    path = absolute(value, at)
    return get(read_json(path), "conf", dict, Location(str(path), at.folder))


def _scores(value: Any) -> Any:
    """Check a score, or the scores of an object by class name."""
    for name, score in value.items() if isinstance(value, dict) else [("", value)]:
        place = f'"{name}": ' if name else ""
        if type(score) not in (int, float):
            expected = "a number or the name of a .json file" if isinstance(value, str) else "a number"
            raise ValueError(f"{place}expected {expected}, found {describe(score)}")
        if not isfinite(score):
            raise ValueError(f"{place}the number is too large")
        if not 0 <= score <= 1:
            raise ValueError(f"{place}must be between 0 and 1, not {float(score)}")
    return value


_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_FILE = {"type": "string", "pattern": r"\.json$"}
_SCORE_OF_CLASSES = {"anyOf": [_SCORE, {"type": "object", "additionalProperties": _SCORE}, _FILE]}

Scores = Annotated[
    float | dict[str, float], Located(_thresholds), BeforeValidator(_scores), WithJsonSchema(_SCORE_OF_CLASSES)
]


def _check_name(name: Any, names: Collection[str]) -> Any:
    """Refuse a text that is none of the names, with the nearest one; what is no text is left for pydantic to refuse."""
    if isinstance(name, str) and name not in names:
        close = nearest(name, names) if len(names) > 1 else None
        advice = f"; did you mean {close}?" if close else ""
        raise ValueError(f'must be {" or ".join(names)}, not "{name}"{advice}')
    return name


def _file_name(name: str) -> str:
    if problem := path_problem(name):
        raise ValueError(problem)
    return name


FileName = Annotated[str, Field(strict=True, min_length=1), AfterValidator(_file_name)]

FormatName = Annotated[
    StrictStr, BeforeValidator(lambda name: _check_name(name, FORMATS)), WithJsonSchema({"enum": [*FORMATS]})
]


SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What a split is called, in lower case and without a year as in `train2017` -> split."""


def split_of(name: str) -> str | None:
    """Return the split that a folder or a key names: `train`, `val` or `test`; None if it names another or none."""
    return SPLIT_NAMES.get(re.sub(r"[-_]?\d{4}$", "", name.lower()))


def _splits(value: Any) -> Any:
    """Check the names and the sum of the shares, and name splits as folders do; wrong types are left for pydantic."""
    if not isinstance(value, dict) or not all(type(share) in (int, float) for share in value.values()):
        return value
    for name, share in value.items():
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", str(name)):
            raise ValueError(f'"{name}" cannot be part of a file name; use letters and digits, such as train')
        if not share > 0:
            raise ValueError(f"{name}: {share} is not above 0")
    if abs(sum(value.values()) - 1) > 1e-6:
        raise ValueError(f"the shares add up to {sum(value.values()):g}, not to 1")
    meant = {split_of(name) or name: share for name, share in value.items()}
    if len(meant) < len(value):
        raise ValueError(f"{' and '.join(value)}: two of these names mean the same split")
    return meant


Splits = Annotated[dict[str, Share] | None, BeforeValidator(_splits)]


def _label_map(value: Any) -> Any:
    """Turn the keys of a JSON object, which are strings, into integers, and check that all are pixel values."""
    if not isinstance(value, dict):
        return value
    for key, label in value.items():
        try:
            inside = 0 <= int(key) <= 255 and (type(label) is not int or 0 <= label <= 255)
        except ValueError:
            raise ValueError(f'expected integers as keys, found "{key}"') from None
        if not inside:
            raise ValueError(f"{int(key)}: {label} is not within 0 to 255")
    return {int(key): label for key, label in value.items()}


LabelMap = Annotated[dict[int, StrictInt] | None, BeforeValidator(_label_map)]


Shown = Literal["names", "scores", "boxes", "masks", "outlines", "ids"]


def _split(value: Any) -> Any:
    """Make the parts of an overlay that a text names, `masks,names`, a list, and check that there are such parts."""
    listed = value.replace(",", " ").split() if isinstance(value, str) else value
    return [_check_name(each, get_args(Shown)) for each in listed] if isinstance(listed, list) else listed


ShownParts = Annotated[
    tuple[Shown, ...],
    BeforeValidator(_split),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"enum": [*get_args(Shown)]}}, {"type": "string"}]}),
]
