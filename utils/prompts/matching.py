"""Match the rows of a prompt file with the images, their sizes and the classes of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.classes import COCO_CLASSES, COCO_IDS, canonical, match_classes
from utils.engine import RunImages
from utils.errors import UserError
from utils.io.image_files import size_problem
from utils.json_reading import describe
from utils.prompts.table import CategoryOffset, PromptOverrides, Rows, Size

NONE, SEVERAL = -1, -2
"""In place of an image's position: no image of the run, or more than one that it may be."""

TENTH = 0.1
"""Rows may contradict what a form means up to this share; with more of them it is not that form."""


@dataclass(frozen=True)
class ImageMatch:
    """The images of a file's rows.

    Attributes:
        of_key: (K,) int64, for each of the file's keys the position of its image among those of the run, or NONE.
        by_number: keys that should be image ids are only the names of files, or the numbers in them.
    """

    of_key: np.ndarray
    by_number: bool


def join(rows: Rows, ids: Sequence[str]) -> ImageMatch:
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
    return ImageMatch(np.where(of_key == SEVERAL, NONE, of_key), by_number)


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


def stated_size(entry: dict[str, Any], height: str, width: str) -> Size | None:
    """The (height, width) that an object has under two keys, or None unless both are numbers above 0."""
    sides: tuple[Any, Any] = entry.get(height), entry.get(width)
    return sides if all(type(side) in (int, float) and side > 0 for side in sides) else None


def check_sizes(rows: Rows, joined: ImageMatch, images: RunImages) -> None:
    """Compares what the file says of the images that its rows are for with their headers, of which no others are read.

    Raises:
        UserError: it is for images of other sizes.
    """
    used = np.unique(rows.key_of_row).tolist()
    position_of = {key: int(joined.of_key[key]) for key in used if key in rows.sizes and joined.of_key[key] != NONE}
    problems = {
        key: problem
        for key, size in zip(position_of, images.sizes([*position_of.values()]))
        if size is not None and (problem := size_problem(rows.sizes[key], size))
    }
    if problems:
        key, problem = next(iter(problems.items()))
        which = f'what it says of "{rows.keys[key]}" {problem}'
        raise UserError(f"{rows.path}: {which} ({len(problems)} of {len(position_of)} images like this)")


UNLISTED, LACKING = -2, -1
"""In place of a class id: the category id is none of the list's, or the run lacks the class."""


class Categories:
    """The category ids of a file, which index a list of names, and the classes of the run that they mean.

    Args:
        rows: the file.
        given: names that the command line gives in place of the run's, if any.
        names: class names of the run.
    """

    def __init__(self, rows: Rows, given: PromptOverrides, names: Sequence[str]) -> None:
        self._rows, self._names = rows, tuple(names)
        self._own = rows.class_names or given.class_names

    def listed(self, offset: CategoryOffset) -> tuple[str, ...]:
        """The names that the category ids index: the file's own, else those given, else COCO's or the run's."""
        return self._own or (COCO_CLASSES if offset == "coco91" else self._names)

    def are_cocos(self) -> bool:
        """Whether the names are COCO's 80 in their order, which Ultralytics numbers in two ways."""
        return [*map(canonical, self.listed("0"))] == [*COCO_CLASSES]

    def class_ids(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) int64 class ids of the run, UNLISTED or LACKING."""
        listed, positions = self.listed(offset), self._positions(offset)
        table = np.full(len(listed) + 1, LACKING)
        same = listed == self._names
        for source, target in enumerate(range(len(listed))) if same else match_classes(listed, self._names).items():
            table[source] = target
        table[-1] = UNLISTED
        return table[positions]

    def misfits(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) bool, whether a row speaks against an offset that nobody gave."""
        class_ids = self.class_ids(offset)
        # Somebody who says nothing of COCO means no class by it that the run lacks.
        return class_ids < 0 if offset == "coco91" and self._own is None else class_ids == UNLISTED

    def range_of(self, offset: CategoryOffset) -> str:
        """The category ids that there are, for messages."""
        count = len(self.listed(offset))
        if offset == "coco91":
            return "COCO's category ids"
        return f"the {count} classes, which have the ids {offset} to {count - 1 + int(offset)}"

    def check(self, offset: CategoryOffset) -> np.ndarray:
        """The class ids, as above, but none UNLISTED.

        Raises:
            UserError: a category id is none of the list's, or the list and the run share no class.
        """
        class_ids = self.class_ids(offset)
        if (class_ids == UNLISTED).any():
            first = self.first(class_ids == UNLISTED, offset)
            raise UserError(f"{self._rows.path}: {first}; what settles it: --category-offset, --prompt-names")
        if len(class_ids) and not match_classes(self.listed(offset), self._names):
            there, here = ", ".join(self.listed(offset)), ", ".join(self._names)
            raise UserError(f"{self._rows.path}: it shares no class with the run: it has {there}; the run has {here}")
        return class_ids

    def first(self, wrong: np.ndarray, offset: CategoryOffset) -> str:
        """Names the first of the rows that are wrong, and how many there are."""
        row = int(np.argmax(wrong))
        return (
            f"{self._rows.spot_of(row)}.category_id: {self._rows.category_ids[row]} is outside "
            f"{self.range_of(offset)} ({wrong.sum()} of {len(wrong)} rows)"
        )

    def counts(self, wanted: np.ndarray, offset: CategoryOffset) -> str:
        """The classes of some of the rows, a (R,) bool, with their counts, most frequent first."""
        listed = self.listed(offset)
        counts = Counter(listed[i] for i in self._positions(offset)[wanted].tolist())
        return ", ".join(f"{name} {count}" for name, count in counts.most_common())

    def _positions(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) int64 positions of the category ids in the list of names; that behind its end for other ids."""
        ids, count = self._rows.category_ids, len(self.listed(offset))
        if offset == "coco91":
            known = np.isin(ids, COCO_IDS)
            positions = np.where(known, np.searchsorted(COCO_IDS, ids), count)
        else:
            positions = ids - int(offset)
        return np.where((positions >= 0) & (positions < count), positions, count)
