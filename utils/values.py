"""What values the config's sections share: kinds that JSON does not know, and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from utils.classes import load_class_names
from utils.official import home_of
from utils.strict_json import FieldError, Place, convert, found


def _class_names(value: Any, place: Place) -> tuple[str, ...]:
    """A list of names, or the path of a file that has them."""
    if isinstance(value, str):
        return load_class_names(convert(Path, value, place))
    return load_class_names(convert(tuple[str, ...], value, place), place.name)


def _file_or_name(value: Any, place: Place) -> str:
    """The absolute path of a file if there is one, else the value itself: a name that a package knows."""
    file = convert(Path, value, place)
    return str(file) if file.is_file() else str(value)


def _weights(value: Any, place: Place) -> Path:
    """A path; an official name without a folder means its home."""
    path: Path = convert(Path, value, place)
    return home_of(value) or path


def _start(value: Any, place: Place) -> Path | str:
    """What a training starts from: weights, or `scratch` for random ones."""
    return "scratch" if value == "scratch" else _weights(value, place)


def _json_object(value: Any, place: Place) -> dict[str, Any]:
    """A JSON object as it is; whoever uses it knows its keys."""
    if not isinstance(value, dict):
        raise place.error(f"expected an object, found {found(value)}")
    return value


def require(condition: bool, name: str, reason: str) -> None:
    """Raises FieldError for the field `name` unless the condition holds."""
    if not condition:
        raise FieldError(name, reason)


def within(section: object, name: str, low: float, high: float | None = None) -> None:
    """Raises FieldError if the number in field `name` is outside the limits, both of which are allowed values."""
    value = getattr(section, name)
    limits = f"at least {low}" if high is None else f"between {low} and {high}"
    inside = value is None or (low <= value and (high is None or value <= high))
    require(inside, name, f"must be {limits}, not {value}")


ClassNames = Annotated[tuple[str, ...], _class_names]
FileOrName = Annotated[str, _file_or_name]
JsonObject = Annotated[dict[str, Any], _json_object]
Weights = Annotated[Path, _weights]
Start = Annotated[Path | Literal["scratch"], _start]
