"""Match the rows of a prompt file with the images, their sizes and the classes of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from utils.classes import COCO_CLASSES, COCO_IDS, match_classes
from utils.engine import RunImages
from utils.errors import UserError, first_of
from utils.io.image_files import size_problem
from utils.io.terminal import counted
from utils.matching import number_of, unique_aliases, without_upload
from utils.prompts.table import CategoryOffset, PromptOverrides, PromptTable

NO_IMAGE, AMBIGUOUS = -1, -2
"""In place of an image's position: no image of the run, or more than one that it may be."""

NO_CLASS, UNKNOWN_ID = -1, -2
"""In place of a class id: the run has no such class, or no name has the category id."""

MAX_BAD_SHARE = 0.1
"""Rows may contradict what is expected of a file up to this share; with more of them the expectation is wrong."""


@dataclass(frozen=True)
class ImageMatch:
    """The images that the rows of a file are for.

    Attributes:
        of_key: (K,) int64, for each of the file's image keys the position of its image in the run, or NO_IMAGE.
        of_row: (R,) int64, the same for each row.
        by_number: whether keys that should be image ids are only the names of files, or the numbers in them.
    """

    of_key: npt.NDArray[np.int64]
    of_row: npt.NDArray[np.int64]
    by_number: bool


def match_images(table: PromptTable, ids: Sequence[str]) -> ImageMatch:
    """Find the image of each key: never guess between two.

    Ultralytics and COCO name an image by its file's name without folders, or by the number that this name is. Such keys
    match only if exactly one image of the run can be meant and no other key means the same one. If no key matches, all
    are tried without what Label Studio puts before the names of uploads.

    Args:
        ids: image ids of the run.

    Raises:
        UserError: a row may be for more than one image of the run, or there are rows, but none for any.
    """
    keys, by_number = table.image_keys, False
    of_key = _look_up(keys, {image_id: i for i, image_id in enumerate(ids)}, once=False)
    if table.format.images_by == "names":
        # An exact id is no reason to prefer an image here: "1" may stand for clip/1 as well as for 1.
        of_key = _look_up(keys, unique_aliases(_tails_of(ids)))
    elif table.format.images_by == "paths":
        of_key = _match_paths(keys, ids, of_key, flattened=table.format.normalized)
    else:
        numbers = unique_aliases((number_of(_file_name(image_id)), i) for i, image_id in enumerate(ids))
        numbered = _look_up((number_of(str(key)) for key in keys), numbers)
        # Native files have exact ids, old files of Ultralytics numbers. A run may be a part of the file's images, so a
        # row without its exact id is no sign of numbers; one that matches by nothing but its number is.
        exact_rows = of_key[table.key_of_row] != NO_IMAGE
        number_only = (numbered[table.key_of_row] != NO_IMAGE) & ~exact_rows
        by_number = bool(number_only.sum() > MAX_BAD_SHARE * (exact_rows | number_only).sum())
        of_key = numbered if by_number else of_key
    of_row = of_key[table.key_of_row]
    if (of_row == AMBIGUOUS).any():
        raise _ambiguous(table, of_row == AMBIGUOUS, ids)
    if len(table) and (of_row == NO_IMAGE).all():
        before = [without_upload(key) if isinstance(key, str) else key for key in keys]
        if before != keys and len({*before}) == len(before):
            return match_images(replace(table, image_keys=before), ids)
        raise UserError(
            f"{table.path}: none of its {counted(len(table), 'row')} is for an image of the run: the first image "
            f'here is {_quoted(table.key(0))}, that of the run is "{min(ids, default="")}"'
        )
    return ImageMatch(np.where(of_key == AMBIGUOUS, NO_IMAGE, of_key), of_row, by_number)


def _match_paths(
    keys: Sequence[str | int], ids: Sequence[str], exact: npt.NDArray[np.int64], *, flattened: bool
) -> npt.NDArray[np.int64]:
    """Match paths that may start in another folder than the ids do.

    The id a/b may be train/a/b in the file, whose root then lies higher, or b, whose root lies lower. If `flattened`,
    it may also be a_b, since tools that keep all labels in one folder write folders so; and the labels of images/a are
    labels/a, as ultralytics finds them.
    """
    position_of = {image_id: i for i, image_id in enumerate(ids)}
    # The longest tail comes last and so decides.
    tails = ((key, tail) for key in map(str, keys) for tail in reversed([*_tails(key)]))
    higher = {key: position_of[tail] for key, tail in tails if tail in position_of}
    lower = unique_aliases(_tails_of(ids))
    if flattened:
        flat = ((tail.replace("/", "_"), i) for tail, i in _tails_of(ids))
        lower = unique_aliases([*lower.items(), *flat, *_tails_of(map(_label_path, ids))])
    # An image that has its exact path in the file gets no alias: another path that ends like it is outside the run.
    exactly_named = set(exact.tolist())
    aliases = {alias: i for alias, i in {**higher, **lower}.items() if i not in exactly_named}
    rest = _look_up([key if i == NO_IMAGE else "" for key, i in zip(keys, exact)], aliases)
    return np.where(exact == NO_IMAGE, rest, exact)


def _label_path(image_id: str) -> str:
    """Return where ultralytics looks for the labels of an image: its last folder `images` becomes `labels`."""
    head, images, tail = f"/{image_id}".rpartition("/images/")
    return f"{head}/labels/{tail}".lstrip("/") if images else image_id


def _look_up(
    keys: Iterable[str | int], aliases: Mapping[str, int | None], *, once: bool = True
) -> npt.NDArray[np.int64]:
    """Return the (K,) positions of the keys; AMBIGUOUS where one may be several and, if `once`, where two share one."""
    found = [aliases.get(key, NO_IMAGE) if isinstance(key, str) else NO_IMAGE for key in keys]
    uses = Counter(found) if once else Counter[int | None]()
    return np.array([AMBIGUOUS if p is None or (uses[p] > 1 and p != NO_IMAGE) else p for p in found], np.int64)


def _tails_of(paths: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each tail of each path, with the position of the path."""
    return ((tail, i) for i, path in enumerate(paths) for tail in _tails(path))


def _tails(path: str) -> Iterator[str]:
    """Yield the path, and what is left of it without its first folders: `a/b/c`, `b/c`, `c`."""
    while path:
        yield path
        path = path.partition("/")[2]


def _file_name(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _quoted(key: str | int) -> str:
    return f'"{key}"' if isinstance(key, str) else f"the number {key}"


def _ambiguous(table: PromptTable, rows: npt.NDArray[np.bool_], ids: Sequence[str]) -> UserError:
    """Return what to raise for (R,) rows that may be for more than one image; it names the first."""
    row = int(np.argmax(rows))
    key = table.key(row)
    meant = [image_id for image_id in ids if number_of(_file_name(image_id)) == number_of(_file_name(str(key)))]
    what = f"may be for {meant[0]} or {meant[1]}" if len(meant) > 1 else "cannot be told from another one"
    return UserError(
        f"{table.location(row)}: its image, {_quoted(key)}, {what} ({rows.sum()} of {counted(len(table), 'row')} "
        "like this): without folders such names collide; python -m yolo.predict writes a file that keeps the ids"
    )


def check_sizes(table: PromptTable, match: ImageMatch, images: RunImages) -> None:
    """Compare the sizes that the file states with the headers of those images that have rows; no others are read.

    Raises:
        UserError: it is for images of other sizes.
    """
    used = np.unique(table.key_of_row).tolist()
    stated = {key: int(match.of_key[key]) for key in used if key in table.sizes and match.of_key[key] != NO_IMAGE}
    problems = {
        key: problem
        for key, size in zip(stated, images.sizes([*stated.values()]))
        if size is not None and (problem := size_problem(table.sizes[key], size))
    }
    if problems:
        key, problem = next(iter(problems.items()))
        which = f'what it says of "{table.image_keys[key]}" {problem}'
        raise UserError(f"{table.path}: {which} ({len(problems)} of {counted(len(stated), 'image')} like this)")


class Categories:
    """The category ids of a file, which index a list of names, and the classes of the run that they mean.

    Args:
        table: the file.
        overrides: the command line may give names in place of the run's.
        names: class names of the run.
    """

    def __init__(self, table: PromptTable, overrides: PromptOverrides, names: Sequence[str]) -> None:
        self._table, self._names = table, tuple(names)
        self._own = table.class_names or overrides.class_names

    def listed(self, offset: CategoryOffset) -> tuple[str, ...]:
        """Return the names that category ids index: the file's, else the command line's, else COCO's or the run's."""
        return self._own or (COCO_CLASSES if offset == "coco91" else self._names)

    def class_ids(self, offset: CategoryOffset) -> npt.NDArray[np.int64]:
        """Return the (R,) class ids of the run, UNKNOWN_ID or NO_CLASS."""
        listed = self.listed(offset)
        class_of = np.full(len(listed) + 1, NO_CLASS)
        for position, class_id in self._of_run(listed).items():
            class_of[position] = class_id
        class_of[-1] = UNKNOWN_ID
        return class_of[self._positions(offset)]

    def misfits(self, offset: CategoryOffset) -> npt.NDArray[np.bool_]:
        """Return (R,) bool: which rows contradict an offset that the command line did not set."""
        class_ids = self.class_ids(offset)
        # COCO's 80 names are a guess unless somebody named them; then an id of a class that the run lacks refutes them.
        return class_ids < 0 if offset == "coco91" and self._own is None else class_ids == UNKNOWN_ID

    def checked_class_ids(self, offset: CategoryOffset) -> npt.NDArray[np.int64]:
        """Return the class ids as `class_ids` does, but none UNKNOWN_ID.

        Raises:
            UserError: a category id is none that the names have, or they share no class with the run.
        """
        class_ids, listed = self.class_ids(offset), self.listed(offset)
        if (class_ids == UNKNOWN_ID).any():
            first = self.describe_first(class_ids == UNKNOWN_ID, offset)
            raise UserError(f"{self._table.path}: {first}; give --category-offset or --prompt-names")
        if len(class_ids) and not match_classes(listed, self._names):
            remedy = (
                f"; --set dataset.classes={self._table.names_file} takes its classes" if self._table.names_file else ""
            )
            both = f"it has {first_of(listed)}; the run has {first_of(self._names)}{remedy}"
            raise UserError(f"{self._table.path}: it shares no class with the run: {both}")
        return class_ids

    def describe_first(self, wrong: npt.NDArray[np.bool_], offset: CategoryOffset) -> str:
        """Name the first of the rows whose category ids are wrong, and how many there are."""
        row, count = int(np.argmax(wrong)), len(self.listed(offset))
        known = "COCO's category ids"
        if offset != "coco91":
            known = f"the {count} classes, which have the ids {offset} to {count - 1 + int(offset)}"
        return (
            f"{self._table.short_location(row)}.category_id: {self._table.category_ids[row]} is outside "
            f"{known} ({wrong.sum()} of {counted(len(wrong), 'row')})"
        )

    def mapping(self, offset: CategoryOffset, most: int = 20) -> str:
        """Say which class of the run each category id means: all that there are, or up to `most` that the file has."""
        listed, ids = self.listed(offset), np.unique(self._table.category_ids).tolist()
        of_run, texts = self._of_run(listed), []
        pairs = [*zip(ids, np.unique(self._positions(offset)).tolist())]
        if len(listed) <= most and offset != "coco91":
            pairs = [(i + int(offset), i) for i in range(len(listed))]
        for category_id, i in pairs[:most]:
            name = listed[i]
            meant = self._names[of_run[i]] if i in of_run else "no class of the run"
            texts.append(f"{category_id} {name}" + ("" if meant == name else f" -> {meant}"))
        return ", ".join([*texts, *([f"and {len(pairs) - most} more"] if len(pairs) > most else [])])

    def counts(self, rows: npt.NDArray[np.bool_], offset: CategoryOffset) -> str:
        """List the classes of some of the (R,) rows with their counts, most frequent first."""
        listed = self.listed(offset)
        counts = Counter(listed[i] for i in self._positions(offset)[rows].tolist())
        return ", ".join(f"{name} {count}" for name, count in counts.most_common())

    def _of_run(self, listed: tuple[str, ...]) -> dict[int, int]:
        """Map positions in the list of names to class ids of the run."""
        if listed == self._names:  # two names of a list may mean the same, but each is the run's own
            return {i: i for i in range(len(listed))}
        return match_classes(listed, self._names)

    def _positions(self, offset: CategoryOffset) -> npt.NDArray[np.int64]:
        """Return the (R,) positions of the category ids in the list of names; its length for ids outside it."""
        ids, count = self._table.category_ids, len(self.listed(offset))
        if offset == "coco91":
            positions = np.where(np.isin(ids, COCO_IDS), np.searchsorted(COCO_IDS, ids), count)
        else:
            positions = ids - int(offset)
        return np.where((positions >= 0) & (positions < count), positions, count)
