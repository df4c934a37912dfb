"""Which image of the run each row of a prompt file is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import UserError
from utils.json_reading import describe
from utils.prompts.rows import Rows

NONE, SEVERAL = -1, -2
"""In place of an image's position: no image of the run, or more than one that it may be."""
TENTH = 0.1
"""Rows may contradict what a form means up to this share; with more of them it is not that form."""


@dataclass(frozen=True)
class Joined:
    """The images of a file's rows.

    Attributes:
        of_key: (K,) int64, for each of the file's keys the position of its image among those of the run, or NONE.
        by_number: keys that should be image ids are only the names of files, or the numbers in them.
    """

    of_key: np.ndarray
    by_number: bool


def join(rows: Rows, ids: Sequence[str]) -> Joined:
    """Finds the image of each key: by the exact id first, then, where that cannot be right, by what is left of it.

    Ultralytics and COCO name an image by its file's name without folders or by the number that this is. Such keys are
    joined only if one image of the run can be meant.

    Args:
        ids: image ids of the run.

    Raises:
        UserError: a row may be for more than one image of the run, or there are rows, but none for any.
    """
    by_number, of_key = False, _exact(rows.keys, ids)
    if rows.form.keys == "names":
        of_key = _by_alias(rows.keys, _table((tail, i) for i, name in enumerate(ids) for tail in _tails(name)))
    elif rows.form.keys == "paths":
        of_key = _by_path(rows.keys, ids, flattened=rows.form.in_shares)
    else:
        numbered = _by_alias(
            map(_number, map(str, rows.keys)), _table((_number(_stem(i)), k) for k, i in enumerate(ids))
        )
        joined, only_numbered = _counts(rows, of_key, numbered)
        by_number = bool(only_numbered > TENTH * (joined + only_numbered))
        of_key = numbered if by_number else of_key
    of_row = of_key[rows.key_of_row]
    if (of_row == SEVERAL).any():
        raise _ambiguous(rows, of_row, ids)
    if len(rows) and (of_row == NONE).all():
        raise UserError(
            f"{rows.path}: none of its {len(rows)} rows is for an image of the run: the first image here is "
            f'{describe(rows.keys[rows.key_of_row[0]])}, that of the run is "{min(ids, default="")}"'
        )
    return Joined(np.where(of_key == SEVERAL, NONE, of_key), by_number)


def _counts(rows: Rows, exact: np.ndarray, numbered: np.ndarray) -> tuple[int, int]:
    """How many rows join an image by its exact id, and how many only by the name or number of its file."""
    exact, numbered = exact[rows.key_of_row], numbered[rows.key_of_row]
    return int((exact != NONE).sum()), int(((exact == NONE) & (numbered != NONE)).sum())


def _exact(keys: Iterable[str | int], ids: Sequence[str]) -> np.ndarray:
    return _by_alias(keys, {image_id: position for position, image_id in enumerate(ids)}, once=False)


def _by_path(keys: Sequence[str | int], ids: Sequence[str], *, flattened: bool) -> np.ndarray:
    """Joins paths whose root may lie higher or lower than that of the ids; `a_1` may mean `a/1` if flattened.

    An image whose id is a path is not joined with another one.
    """
    exact, position_of = _exact(keys, ids), {image_id: position for position, image_id in enumerate(ids)}
    tails = _table((tail, i) for i, name in enumerate(ids) for tail in _tails(name))
    if flattened:
        flat = ((tail.replace("/", "_"), i) for i, name in enumerate(ids) for tail in _tails(name))
        tails = _table([*tails.items(), *flat])
    deeper = {key: position_of[t] for key in map(str, keys) for t in reversed([*_tails(key)]) if t in position_of}
    taken = set(exact.tolist())
    free = {alias: position for alias, position in {**deeper, **tails}.items() if position not in taken}
    loose = _by_alias([key if position == NONE else "" for key, position in zip(keys, exact)], free)
    return np.where(exact == NONE, loose, exact)


def _table(aliases: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Alias -> position, or SEVERAL where it stands for more than one."""
    table: dict[str, int] = {}
    for alias, position in aliases:
        if table.setdefault(alias, position) != position:
            table[alias] = SEVERAL
    return table


def _by_alias(keys: Iterable[str | int], table: dict[str, int], *, once: bool = True) -> np.ndarray:
    """(K,) int64 positions of the keys; several keys with the same one cannot be told from each other, if `once`."""
    positions = [table.get(key, NONE) if isinstance(key, str) else NONE for key in keys]
    uses = Counter(positions) if once else Counter[int]()
    return np.array([SEVERAL if uses[p] > 1 and p != NONE else p for p in positions], np.int64)


def _tails(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folders: `a/b/c`, `b/c`, `c`."""
    while path:
        yield path
        path = path.partition("/")[2]


def _stem(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _number(stem: str) -> str:
    """The number that a name is, as Ultralytics writes it: without zeros before it. Another name stays."""
    return stem.lstrip("0") or "0" if stem.isascii() and stem.isdigit() else stem


def _ambiguous(rows: Rows, of_row: np.ndarray, ids: Sequence[str]) -> UserError:
    """What to raise for rows that may be for more than one image, naming the first."""
    row = int(np.argmax(of_row == SEVERAL))
    key = rows.keys[rows.key_of_row[row]]
    meant = [i for i in ids if _number(_stem(i)) == _number(_stem(str(key)))]
    what = f"may be for {meant[0]} or {meant[1]}" if len(meant) > 1 else "cannot be told from another one"
    return UserError(
        f"{rows.place_of(row)}: its image, {describe(key)}, {what} ({(of_row == SEVERAL).sum()} of {len(rows)} rows "
        "like this): without folders such names collide; python -m yolo.predict writes a file that keeps the ids"
    )
