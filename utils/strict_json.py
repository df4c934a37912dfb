"""Strict JSON, and dataclasses made from it: what is not exactly right is refused, naming its place."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from utils.classes import nearest
from utils.errors import UserError

T = TypeVar("T")

_ACCEPTED: dict[type, Any] = {bool: bool, int: int, float: (int, float), str: str, Path: str}
_EXPECTED = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
_FOUND = {
    bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "an object",
    NoneType: "nothing",
}  # fmt: skip


class FieldError(UserError):
    """A field of a dataclass has an impossible value; raised by the dataclass, which does not know where it stands."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class Place:
    """Where a value stands: what messages call it, and the folder in which a relative path there starts."""

    name: str
    folder: Path

    def at(self, index: object) -> Place:
        """The place of one element of a list or an object."""
        return Place(f"{self.name}[{index}]", self.folder)

    def of(self, key: str) -> Place:
        """The place of a member of an object, which is the file itself or one of its elements."""
        return Place(f"{self.name}{'.' if self.name.endswith(']') else ': '}{key}", self.folder)

    def error(self, reason: str) -> UserError:
        """What to raise when the value here cannot be used."""
        return UserError(f"{self.name}: {reason}")


def parse_json(text: str) -> Any:
    """What a JSON text says. ValueError for anything but JSON: NaN and the infinities, and a key given twice."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def read_json(path: Path, parse: Callable[[str], Any] = parse_json) -> Any:
    """What a JSON file (UTF-8) says.

    Args:
        path: the file.
        parse: `parse_json`, or a parser that is less strict.

    Raises:
        UserError: the file cannot be read or parsed; the message has the line and column of malformed text.
    """
    try:
        return parse(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key "{next(name for name in names if names.count(name) > 1)}" is given twice in one object')
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def build(cls: type[T], value: object, place_of: Callable[[str], Place], key: str = "", known: Sequence[str] = ()) -> T:
    """A dataclass, with the dataclasses inside it, from a JSON object.

    Args:
        cls: the dataclass. A field's hint says what is accepted: bool, int, float, str, Path, list, dict, Literal,
            tuple[X, ...], dict[int, int], X | None, a dataclass, or Annotated[X, reader] with `reader(value, place)`
            returning an X.
        value: the JSON value; a field that is left out keeps its default.
        place_of: the place of a dotted key; a default that is a relative path starts there as well.
        key: the dotted key of `value` itself.
        known: all dotted keys, among which the nearest to an unknown one is looked for; those of `cls` if not given.

    Raises:
        UserError: an unknown key, a wrong type, or a value that the dataclass refuses by a FieldError.
    """
    known = known or list(dict(dotted_hints(cls)))
    if not isinstance(value, dict):
        raise place_of(key).error(f"expected an object, found {found(value)}")
    hints = get_type_hints(cls, include_extras=True)
    for name in value:
        if name not in hints:
            raise unknown_key(place_of(_join(key, name)), _join(key, name), known)
    arguments: dict[str, Any] = {}
    for name, hint in hints.items():
        place, default = place_of(_join(key, name)), getattr(cls, name, None)
        if isinstance(hint, type) and is_dataclass(hint):
            arguments[name] = build(hint, value.get(name, {}), place_of, _join(key, name), known)
        elif name in value:
            arguments[name] = convert(hint, value[name], place)
        elif isinstance(default, Path):
            arguments[name] = place.folder / default
    try:
        return cls(**arguments)
    except FieldError as error:
        raise place_of(_join(key, error.field)).error(error.reason) from error


def dotted_hints(cls: type, key: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a dataclass's fields and of those of the dataclasses inside it, each with its hint."""
    for name, hint in get_type_hints(cls).items():
        yield _join(key, name), hint
        if isinstance(hint, type) and is_dataclass(hint):
            yield from dotted_hints(hint, _join(key, name))


def unknown_key(place: Place, key: str, known: Sequence[str]) -> UserError:
    """What to raise for a key that is none of the known ones."""
    section = key.rpartition(".")[0]
    close = nearest(key, known)
    if close:
        return place.error(f"unknown key; did you mean {close}?")
    siblings = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    return place.error(f"unknown key; known are {', '.join(siblings)}")


def convert(hint: Any, value: Any, place: Place) -> Any:
    """A JSON value as the type that a hint asks for; `build` says which hints there are.

    Raises:
        UserError: the value is of another type.
    """
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return parts[1](value, place)
    if kind in (Union, UnionType):
        return None if value is None else convert(parts[0], value, place)
    if kind is Literal:
        return _one_of(parts, convert(str, value, place), place)
    if hint in (list, dict):
        return _checked(hint, value, place)
    if kind is tuple:
        return tuple(convert(parts[0], element, place.at(i)) for i, element in enumerate(_checked(list, value, place)))
    if kind is dict:
        members = _checked(dict, value, place).items()
        return {_integer(name, place): convert(int, member, place.at(name)) for name, member in members}
    return _scalar(hint, value, place)


def member(value: Any, key: str, hint: Any, place: Place) -> Any:
    """What a JSON object has under a key, as a hint asks for it; None if it is missing and the hint allows that.

    Raises:
        UserError: the value is no object, the key is missing, or what it has is of another type.
    """
    if not isinstance(value, dict):
        raise place.error(f"expected an object, found {found(value)}")
    if key not in value and NoneType not in get_args(hint):
        raise place.of(key).error("is missing")
    return convert(hint, value.get(key), place.of(key))


def _scalar(kind: type, value: Any, place: Place) -> Any:
    if not isinstance(value, _ACCEPTED[kind]) or isinstance(value, bool) != (kind is bool):
        raise place.error(f"expected {_EXPECTED[kind]}, found {found(value)}")
    if kind is float and abs(value) > sys.float_info.max:
        raise place.error("the number is too large")
    if kind is Path:
        if not value:
            raise place.error("the path is empty")
        return place.folder / os.path.expanduser(value)
    return kind(value)


def _one_of(names: Sequence[str], text: str, place: Place) -> str:
    if text not in names:
        raise place.error(f'must be {" or ".join(names)}, not "{text}"')
    return text


def _integer(name: str, place: Place) -> int:
    """A key of a JSON object, which is a string even where it means an integer."""
    try:
        return int(name)
    except ValueError:
        raise place.error(f'expected integers as keys, found "{name}"') from None


def _checked(kind: type[T], value: object, place: Place) -> T:
    if not isinstance(value, kind):
        raise place.error(f"expected {_FOUND[kind]}, found {found(value)}")
    return value


def found(value: object) -> str:
    """A JSON value for a message: its type and, where it is short, itself."""
    text = json.dumps(value, ensure_ascii=False)
    return _FOUND[type(value)] + (f" ({text})" if len(text) <= 60 else "")


def _join(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name
