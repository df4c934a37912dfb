"""The config: one file, and what the command line changes in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from utils.errors import UserError
from utils.finetune_sections import FinetuneConfig, SamFinetune, YoloFinetune
from utils.model_sections import CleanupConfig, DetectorConfig, SegmenterConfig, VideoConfig
from utils.official import OFFICIAL_SAM
from utils.sections import (
    ArchConfig,
    AutoMaskConfig,
    DataloaderConfig,
    DatasetConfig,
    EvaluatorConfig,
    PredictorConfig,
)
from utils.strict_json import Place, build, dotted_hints, parse_json, read_json, unknown_key

__all__ = [
    "ArchConfig",
    "AutoMaskConfig",
    "CleanupConfig",
    "Config",
    "DataloaderConfig",
    "DatasetConfig",
    "DetectorConfig",
    "EvaluatorConfig",
    "FinetuneConfig",
    "Override",
    "PredictorConfig",
    "SamFinetune",
    "SegmenterConfig",
    "VideoConfig",
    "YoloFinetune",
    "load_config",
]

OBSOLETE = {"n_gpu": "--device chooses the device"}
"""Keys of older config files that mean nothing any more -> what took their place."""


@dataclass(frozen=True)
class Config:
    """All settings of a run; every path in it is absolute.

    Attributes:
        name: the title of the report.
    """

    name: str = "YOLO-SAM2"
    arch: ArchConfig = field(default_factory=ArchConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    dataloader: DataloaderConfig = field(default_factory=DataloaderConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    auto_mask: AutoMaskConfig = field(default_factory=AutoMaskConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    cleanup: CleanupConfig = field(default_factory=CleanupConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)


HINTS = dict(dotted_hints(Config))
"""Of what type each dotted key is."""


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
    def of(cls, key: str, text: str, option: str) -> Override:
        """The override that a text means: the text's JSON value, or the text itself where it is not JSON."""
        try:
            return cls(key, parse_json(text), option, text)
        except ValueError:
            return cls(key, text, option, text)

    @property
    def assignment(self) -> str:
        """The text that `parse` takes for it."""
        return f"{self.key}={json.dumps(self.value) if self.text is None else self.text}"

    def value_as(self, hint: Any) -> Any:
        """The value for a key with this hint: of what was typed, `.25` is a number, too, and `2012` a text."""
        wanted = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if self.text is not None and float in wanted and isinstance(self.value, str):
            with suppress(ValueError):
                return number if isfinite(number := float(self.text)) else self.value
        if self.text is not None and str in wanted and isinstance(self.value, (int, float)):
            return self.text
        return self.value

    @classmethod
    def parse(cls, assignment: str) -> Override:
        """The override that `--set section.key=value` means.

        Raises:
            UserError: there is no `=`.
        """
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: expected section.key=value")
        return cls.of(key, text, f"--set {key}")


def load_config(path: Path, overrides: Sequence[str | Override] = ()) -> Config:
    """The config of a JSON file, changed by overrides before anything is checked; a later override of a key wins.

    Relative paths start at the file's folder, those of overrides at the working directory, those that begin with `~` at
    the user's home. Official `arch.sam_weights` in an override bring their own `sam_config` unless an override sets
    that, too.

    Args:
        path: the file.
        overrides: `section.key=value` texts, as `--set` takes them, or overrides made by other options.

    Raises:
        UserError: the file is missing or malformed, a key is unknown, a value has the wrong type or is out of range.
    """
    parsed = (Override.parse(each) if isinstance(each, str) else each for each in overrides)
    by_key = _with_implied({override.key: override for override in parsed})

    def place_of(key: str) -> Place:
        if key in by_key:
            return Place(by_key[key].option, Path.cwd())
        return Place(f"{path}: {key}" if key else str(path), Path(path).absolute().parent)

    content = read_json(Path(path))
    if isinstance(content, dict):
        _drop_obsolete(content, path)
        _apply(content, by_key, place_of)
    return build(Config, content, place_of)


def _with_implied(by_key: dict[str, Override]) -> dict[str, Override]:
    """Official SAM2 weights tell their architecture, so they take away the one that the file has for other weights."""
    weights = by_key.get("arch.sam_weights")
    if weights and Path(str(weights.value)).name in OFFICIAL_SAM:
        return {"arch.sam_config": Override("arch.sam_config", None, weights.option), **by_key}
    return by_key


def _drop_obsolete(content: dict[str, Any], path: Path) -> None:
    for key in content.keys() & OBSOLETE.keys():
        del content[key]
        print(f"warning: {path}: {key} is obsolete and ignored; {OBSOLETE[key]}", file=sys.stderr)


def _apply(content: dict[str, Any], by_key: Mapping[str, Override], place_of: Callable[[str], Place]) -> None:
    """Puts the overrides' values into the content of a file; what is no section there is left for `build` to refuse."""
    for key, override in by_key.items():
        if any(known.startswith(f"{key}.") for known in HINTS):
            raise place_of(key).error("is a section; set its keys one by one")
        if key not in HINTS:
            raise unknown_key(place_of(key), key, list(HINTS))
        *sections, name = key.split(".")
        target: Any = content
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target[name] = override.value_as(HINTS[key])
