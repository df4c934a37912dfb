"""Load the config: one file, and what the command line changes in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import Field, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from utils.classes import nearest
from utils.config import schema
from utils.config.finetune import FinetuneConfig
from utils.config.official import OFFICIAL_SAM
from utils.config.values import SECTION, Located, absolute
from utils.errors import UserError
from utils.io.json_files import Location, describe, parse_json, read_json, value_problem
from utils.io.terminal import warn

OBSOLETE = {"n_gpu": "--device chooses the device"}
"""Keys of older config files that mean nothing any more -> what took their place."""


LISTS = (".txt", ".names", ".yaml", ".yml")
"""Suffixes of files that list class names."""


@pydantic_dataclass(frozen=True, config=SECTION)
class Config:
    """All settings of a run; every path in a loaded config is absolute."""

    name: StrictStr = "YOLO-SAM2"
    """Title of the report."""
    arch: schema.ArchConfig = Field(default_factory=schema.ArchConfig)
    dataset: schema.DatasetConfig = Field(default_factory=schema.DatasetConfig)
    dataloader: schema.DataloaderConfig = Field(default_factory=schema.DataloaderConfig)
    evaluator: schema.EvaluatorConfig = Field(default_factory=schema.EvaluatorConfig)
    predictor: schema.PredictorConfig = Field(default_factory=schema.PredictorConfig)
    auto_mask: schema.AutoMaskConfig = Field(default_factory=schema.AutoMaskConfig)
    detector: schema.DetectorConfig = Field(default_factory=schema.DetectorConfig)
    segmenter: schema.SegmenterConfig = Field(default_factory=schema.SegmenterConfig)
    cleanup: schema.CleanupConfig = Field(default_factory=schema.CleanupConfig)
    video: schema.VideoConfig = Field(default_factory=schema.VideoConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)


def fields_of(section: Any, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted keys of a section, and of the sections in it, each with its field."""
    for name, field in section.__pydantic_fields__.items():
        yield prefix + name, field
        if is_dataclass(field.annotation):
            yield from fields_of(field.annotation, f"{prefix}{name}.")


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return the types that a field accepts."""
    union = get_origin(field.annotation) in (Union, UnionType)
    return get_args(field.annotation) if union else (field.annotation,)


KEYS = dict(fields_of(Config))
"""All dotted keys, those of sections included."""


@dataclass(frozen=True)
class Override:
    """A value from the command line that takes the place of the file's.

    Attributes:
        key: the dotted config key, such as `dataset.conf`.
        value: a JSON value.
        option: what messages call it, such as `-conf/--conf_thres`.
        text: what was typed; None for a value that was not.
    """

    key: str
    value: Any
    option: str
    text: str | None = None

    @classmethod
    def from_text(cls, key: str, text: str, option: str) -> Override:
        """Make the override that a text means: the text's JSON value, or the text itself where it is not JSON.

        Raises:
            UserError: it begins as a JSON object, and is none.
        """
        try:
            return cls(key, parse_json(text), option, text)
        except (ValueError, RecursionError) as error:
            if text.startswith("{"):
                typed = f"""--set '{key}={{"name": value}}'"""
                raise UserError(f"{option}: {text} is no JSON; a shell takes quotes away, so type {typed}") from error
            return cls(key, text, option, text)

    @classmethod
    def parse(cls, assignment: str) -> Override:
        """Make the override that `--set section.key=value` means.

        Raises:
            UserError: there is no `=`.
        """
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: expected section.key=value")
        return cls.from_text(key, text, f"--set {key}")

    @property
    def assignment(self) -> str:
        """The text that `parse` takes for it."""
        return f"{self.key}={json.dumps(self.value) if self.text is None else self.text}"

    @staticmethod
    def _names_file(field: FieldInfo, text: str) -> bool:
        """Return whether a typed text means a file that lists names."""
        path = Path(os.path.expanduser(text))
        listed = any(isinstance(each, Located) for each in field.metadata)
        return listed and (path.suffix in LISTS or len(path.parts) > 1 or os.path.isfile(path) or not text)

    def value_for(self, field: FieldInfo) -> Any:
        """Return the value for a field: of what was typed, `.25` is a number, too, `2012` a text, `cat,dog` a list."""
        if self.text is None:
            return self.value
        kinds, is_text = kinds_of(field), isinstance(self.value, str)
        if is_text and float in kinds:
            with suppress(ValueError):
                return number if isfinite(number := float(self.text)) else self.value
        if str in kinds and isinstance(self.value, (int, float)):
            return self.text
        if is_text and any(get_origin(kind) is tuple for kind in kinds) and not self._names_file(field, self.text):
            return [name.strip("\"' ") for name in self.text.strip("[]").split(",")]  # a shell eats quotes
        return self.value


def load_config(path: Path, overrides: Sequence[str | Override] = ()) -> Config:
    """Load the config of a JSON file, changed by overrides before it is checked; a later override of a key wins.

    Relative paths start at the file's folder, those of overrides at the working directory, those that begin with `~` at
    the user's home. Official `arch.sam_weights` in an override bring their own `sam_config` unless an override sets
    that, too.

    Args:
        path: the file.
        overrides: `section.key=value` texts, as `--set` takes them, or overrides made by other options.

    Raises:
        UserError: the file is missing or malformed, keys are unknown, or values have the wrong type or are out of
            range; the message has a line for each.
    """
    parsed = (Override.parse(each) if isinstance(each, str) else each for each in overrides)
    by_key = _with_implied({override.key: override for override in parsed})

    def locate(key: str) -> Location:
        if key in by_key:
            return Location(by_key[key].option, Path.cwd())
        return Location(f"{path}: {key}" if key else str(path), Path(path).absolute().parent)

    content = read_json(Path(path))
    if isinstance(content, dict):
        content.pop("$schema", None)  # for editors
        for key in content.keys() & OBSOLETE.keys():
            del content[key]
            warn([f"{path}: {key} is obsolete and ignored; {OBSOLETE[key]}"])
        _apply(content, by_key, locate)
        _read_values(content, locate)
    try:
        return TypeAdapter(Config).validate_python(content)
    except ValidationError as errors:
        messages: dict[str, str] = {}  # one a key: a union, for example, has an error for each of its types
        for error in errors.errors(include_url=False):
            key, message = _explain(error, locate)
            messages.setdefault(key, message)
        raise UserError("\n".join(messages.values())) from errors


def _with_implied(by_key: dict[str, Override]) -> dict[str, Override]:
    """Official SAM2 weights tell their architecture, so they take away the one that the file has for other weights."""
    weights = by_key.get("arch.sam_weights")
    if weights and Path(str(weights.value)).name in OFFICIAL_SAM:
        return {"arch.sam_config": Override("arch.sam_config", None, weights.option), **by_key}
    return by_key


def _apply(content: dict[str, Any], by_key: Mapping[str, Override], locate: Callable[[str], Location]) -> None:
    """Put the values of overrides into the content of a file."""
    for key, override in by_key.items():
        if key not in KEYS:
            raise locate(key).error(_unknown(key))
        if is_dataclass(KEYS[key].annotation):
            raise locate(key).error("is a section; set its keys one by one")
        holder, name = _holder(content, key)
        before, holder[name] = holder.get(name), override.value_for(KEYS[key])
        if key == "dataset.conf" and not isinstance(before, (float, int, type(None))):
            warn([f"{locate('').name}: dataset.conf has scores of single classes; {override.option} replaces them all"])


def _read_values(content: dict[str, Any], locate: Callable[[str], Location]) -> None:
    """Make the paths in a file's content absolute, those of defaults, too, and read the class names that it has.

    Texts that no file can hold and integers of more than 64 bits are refused.
    """
    for key, field in KEYS.items():
        if is_dataclass(field.annotation):
            continue
        holder, name = _holder(content, key)
        marks = [each.read for each in field.metadata if isinstance(each, Located)]
        read = marks[0] if marks else absolute if Path in kinds_of(field) else None
        if problem := value_problem(holder.get(name), is_path=read is not None):
            raise locate(key).error(problem)
        value = holder.get(name, field.default)
        if read is not None and (name in holder or isinstance(value, Path)):
            holder[name] = read(value, locate(key))


def _holder(content: Any, key: str) -> tuple[dict[str, Any], str]:
    """The object that has a key, made where it is missing, and the key's own name.

    Where something else is in the object's place, which pydantic will refuse, it is an object outside the content.
    """
    *sections, name = key.split(".")
    for section in sections:
        content = content.setdefault(section, {}) if isinstance(content, dict) else {}
    return content if isinstance(content, dict) else {}, name


def _explain(error: ErrorDetails, locate: Callable[[str], Location]) -> tuple[str, str]:
    """The key that one of pydantic's errors is about, and the message to the user."""
    unknown = error["type"] == "unexpected_keyword_argument"
    key, indices = "", ""
    for part in error["loc"]:
        joined = f"{key}.{part}" if key else str(part)
        if joined in KEYS or unknown:
            key = joined
        elif isinstance(part, int):
            indices += f"[{part}]"
    reason = _unknown(key) if unknown else _reason(error, KEYS.get(key))
    if error["type"] == "value_error" and is_dataclass(KEYS[key].annotation):  # a section's, which names the key first
        name, _, reason = reason.partition(": ")
        key = f"{key}.{name}"
    return key, f"{locate(key).name}{indices}: {reason}"


def _unknown(key: str) -> str:
    """Why an unknown key is refused: the nearest known key, or all of the innermost section that there is."""
    if close := nearest(key, KEYS):
        return f"unknown key; did you mean {close}?"
    siblings: list[str] = []
    while not siblings:
        key = key.rpartition(".")[0]
        siblings = [known.rpartition(".")[2] for known in KEYS if known.rpartition(".")[0] == key]
    return f"unknown key; known are {', '.join(siblings)}"


_EXPECTED = {
    "bool_type": "true or false", "int_type": "an integer", "float_type": "a number", "string_type": "a string",
    "path_type": "a path", "tuple_type": "a list", "dict_type": "an object", "dataclass_type": "an object",
}  # fmt: skip
"""What a key expects, by the type of pydantic's error."""


def _reason(error: ErrorDetails, field: FieldInfo | None) -> str:
    """The reason of one of pydantic's errors, in the words that readers of other files use, too."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "finite_number" or (kind == "float_type" and type(value) is int):
        return "the number is too large"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {describe(value)}"
    if kind == "literal_error":
        names = context["expected"].replace("'", "").replace(", ", " or ")
        return (
            f'must be {names}, not "{value}"'
            if isinstance(value, str)
            else f"expected a string, found {describe(value)}"
        )
    if kind == "value_error":
        return str(context["error"])
    limits = {type(each): each for each in (field.metadata if field else ())}
    number = float(value) if field and float in kinds_of(field) else value
    if Gt in limits:
        return f"must be above {limits[Gt].gt}, not {number}"
    if Ge in limits:
        most = f"between {limits[Ge].ge} and {limits[Le].le}" if Le in limits else f"at least {limits[Ge].ge}"
        return f"must be {most}, not {number}"
    return {"string_too_short": "the name is empty", "too_short": "the list is empty"}.get(kind, error["msg"])
