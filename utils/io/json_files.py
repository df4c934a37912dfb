"""Read JSON files strictly: whatever is not exactly right is refused, and the message names its location."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import NoneType
from typing import Any

from utils.errors import UserError
from utils.files import read_user_text

_KINDS = {
    bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "an object",
    NoneType: "nothing",
}  # fmt: skip

_ADVICE = {
    r"^\0$": "the file is empty",
    r"\0$": "the text ends too early: a bracket, brace or quote is not closed",
    r",\0[}\]]|\0,\s*[}\]]": "delete the comma: nothing follows it",
    r"\0(//|/\*|#)": "delete the comment: JSON has none",
    r"\0(['‘’“”„])": r'write ", not \1',
    r"\0True\b": "write true, not True",
    r"\0False\b": "write false, not False",
    r"\0None\b": "write null, not None",
    r"\0(\.\d+)": r"write 0\1, not \1",
    r"\d,\0\d": "write a point in numbers, not a comma",
    r"\0\\": r"write / or \\\\, not \\",
}
"""Pattern of a text that is no JSON, with `\\0` at the place of the error -> what to do."""


JSON_FILES = "*.[jJ][sS][oO][nN]"
"""Pattern of their names."""


@dataclass(frozen=True)
class Location:
    """Where a value stands, as messages call it, and the folder in which a relative path there starts."""

    name: str
    folder: Path = Path()

    def at(self, index: object) -> Location:
        """Return the location of one element of a list or an object."""
        return Location(f"{self.name}[{index}]")

    def child(self, key: str) -> Location:
        """Return the location of a member of an object, which is the file itself or one of its elements."""
        return Location(f"{self.name}{'.' if self.name.endswith(']') else ': '}{key}")

    def error(self, reason: str) -> UserError:
        """Make the error to raise when the value here cannot be used."""
        return UserError(f"{self.name}: {reason}")


MAX_NAME_BYTES = 255
"""The longest name of a file or a folder that disks take."""


MAX_PATH_BYTES = 4095


def text_problem(text: str) -> str | None:
    """Say why no file can hold a text; None if one can. A byte that is not UTF-8 may stand in it as Python has it."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        return f"holds half a character, {text[error.start]!a}"
    return None


def path_problem(path: str | os.PathLike[str]) -> str | None:
    """Say why a path can name no file; None if it can."""
    text = os.fspath(path)
    if not text:
        return "the path is empty"
    if problem := text_problem(text):
        return problem
    if len(os.fsencode(text)) > MAX_PATH_BYTES:
        return f"the path is longer than {MAX_PATH_BYTES} bytes"
    longest = max(PurePath(text).parts, key=lambda part: len(os.fsencode(part)), default="")
    if len(os.fsencode(longest)) > MAX_NAME_BYTES:
        return f'the name "{longest[:20]}..." is longer than {MAX_NAME_BYTES} bytes'
    return None


def value_problem(value: Any, *, is_path: bool) -> str | None:
    """Say which text or integer within a JSON value cannot be used; a text that is no path must be UTF-8 as well."""
    waiting = [value]
    while waiting:
        each, problem = waiting.pop(), None
        if isinstance(each, str):
            problem = text_problem(each)
            if not problem and not is_path and any("\ud800" <= letter <= "\udfff" for letter in each):
                problem = "holds a byte that is no UTF-8 text"
        elif type(each) is int and not -(2**63) <= each < 2**63:
            problem = "the number is too large"
        if problem:
            return problem
        waiting += [*each, *each.values()] if isinstance(each, dict) else each if isinstance(each, list) else []
    return None


def parse_json(text: str) -> Any:
    """Parse a JSON text. ValueError for anything but JSON: NaN, the infinities, and a key given twice."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key "{next(name for name in names if names.count(name) > 1)}" is given twice in one object')
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_json(path: Path, parse: Callable[[str], Any] = parse_json) -> Any:
    """Read a JSON file (UTF-8 or UTF-16, see `read_text`), whose text `parse` turns into a value.

    Raises:
        UserError: the file cannot be read or parsed; the message has the line and column of malformed text.
    """
    text = read_user_text(path)
    try:
        return parse(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not JSON: {what_to_write(error)}") from error
    except ValueError as error:
        reason = str(error).partition(";")[0]  # what follows is advice for programmers
        raise UserError(f"{path}: not JSON: {reason}") from error
    except RecursionError as error:
        raise UserError(f"{path}: its lists are nested too deeply") from error


def what_to_write(error: json.JSONDecodeError) -> str:
    """Say what to do at a place that is no JSON; for what people often write by hand more than Python says."""
    around = error.doc[: error.pos].rstrip() + "\0" + error.doc[error.pos :].lstrip()
    for pattern, advice in _ADVICE.items():
        if found := re.search(pattern, around):
            return found.expand(advice)
    return "a comma is missing before this place" if error.msg.startswith("Expecting ','") else error.msg


def get(value: Any, key: str, kind: type, location: Location, *, optional: bool = False) -> Any:
    """Return what a JSON object has under a key; None where it is missing or null and `optional`.

    Raises:
        UserError: the value is no object, the key is missing, or what it has is of another kind.
    """
    found = coerce(dict, value, location).get(key)
    if key not in value and not optional:
        raise location.child(key).error("is missing")
    return None if found is None and optional else coerce(kind, found, location.child(key))


def coerce(kind: type, value: Any, location: Location) -> Any:
    """Return a JSON value as an int, float, str, list or dict; UserError if it is another kind.

    1 is a float, too, and 1.0, which tools of arrays write, an int.
    """
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if type(value) not in ((float, int) if kind is float else (kind,)):
        raise location.error(f"expected {_KINDS[kind]}, found {describe(value)}")
    if kind is float and abs(value) > sys.float_info.max:
        raise location.error("the number is too large")
    return float(value) if kind is float else value


def describe(value: object) -> str:
    """Describe a JSON value for a message: its kind and, where it is short, itself."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = " " * 61
    return _KINDS[type(value)] + (f" ({text})" if len(text) <= 60 else "")
