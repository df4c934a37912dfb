"""Match the rows of a prompt file with the images of a run and their sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.engine import RunImages
from utils.errors import UserError
from utils.formats.categories import RESULTS_ADVICE
from utils.io.image_files import is_image_name, shared_stems, size_problem
from utils.io.terminal import counted
from utils.matching import (
    PathIndex,
    composed,
    keys_of_place,
    names_of_image,
    number_of,
    tails,
    unique_aliases,
    without_images,
    without_upload,
)
from utils.prompts.table import PromptTable

NO_IMAGE, AMBIGUOUS = -1, -2
"""In place of an image's position: no image of the run, or more than one that it may be."""

NO_PATH = "\0"
"""In place of a path that is of no image of the run: no file is called that."""

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


def match_images(table: PromptTable, ids: Sequence[str], files: Sequence[Path] = (), place: str = "") -> ImageMatch:
    """Find the image of each key: never guess between two.

    Ultralytics and COCO name an image by its file's name without folders, or by the number that this name is. Such keys
    match only if exactly one image of the run can be meant and no other key means the same one. If no key matches, all
    are tried without what Label Studio puts before the names of uploads.

    Args:
        ids: image ids of the run.
        files: its images, of which keys may have the suffix, too, as where `a.jpg` and `a.png` are images.
        place: where the run's images lie below the folder; other paths are outside the run, see `keys_of_place`.

    Raises:
        UserError: a row may be for more than one image of the run, or there are rows, but none for any.
    """
    keys = [*table.image_keys]
    if table.format.images_by == "paths":
        inside = keys_of_place(keys, place)
        keys = [inside.get(key, NO_PATH) if isinstance(key, str) else key for key in keys]
    before = [without_upload(key) if isinstance(key, str) else key for key in keys]
    of_key, by_number = _find_images(table, keys, ids, files)
    if before != keys and len({*before}) == len({*keys}) and (of_key[table.key_of_row] == NO_IMAGE).all():
        of_key, by_number = _find_images(table, before, ids, files)
    of_row = of_key[table.key_of_row]
    if (of_row == AMBIGUOUS).any():
        raise _ambiguous(table, of_row == AMBIGUOUS, ids)
    if len(table) and (of_row == NO_IMAGE).all():
        raise _for_other_images(table, ids)
    return ImageMatch(np.where(of_key == AMBIGUOUS, NO_IMAGE, of_key), of_row, by_number)


def _find_images(
    table: PromptTable, keys: Sequence[str | int], ids: Sequence[str], files: Sequence[Path]
) -> tuple[npt.NDArray[np.int64], bool]:
    """Return the (K,) positions of the images of keys, which those of the table became, and `by_number`."""
    by_number = False
    exact_keys = {*keys}
    paths = _paths(exact_keys, ids, files)
    unnamed = [(path, i) for path, i in paths if path not in exact_keys] if table.format.normalized else []
    labels = [(without_images(path), i) for path, i in unnamed]
    exactly = unique_aliases([*paths, *labels])
    of_key = _positions((exactly.get(key, NO_IMAGE) if isinstance(key, str) else NO_IMAGE) for key in keys)
    if table.format.images_by == "names":
        # An exact id is no reason to prefer an image here: "1" may stand for clip/1 as well as for 1.
        named = unique_aliases((composed(tail), i) for image_id, i in paths for tail in tails(image_id))
        of_key = _positions(named.get(composed(str(key)), NO_IMAGE) for key in keys)
    elif table.format.images_by == "paths":
        # An image that has its exact path in the file gets no other: a path that ends like it is outside the run.
        exact = {*of_key.tolist()}
        one_file_each = names_of_image if table.format.normalized else tails
        others = PathIndex((each for each in paths if each[1] not in exact), one_file_each)

        def image_of(key: str, i: int) -> int | None:
            if i == NO_IMAGE:
                return others.find(key, NO_IMAGE)
            # The label 1 is that of images/1, or of a/images/1 if the labels of a were named.
            by_label = i != AMBIGUOUS and ids[i] != key
            return None if by_label and others.find(key, NO_IMAGE, lambda _: ()) != NO_IMAGE else i

        of_key = _positions([*map(image_of, map(str, keys), of_key.tolist())])
    else:
        numbers = unique_aliases((number_of(_file_name(path)), i) for path, i in paths)
        numbered = _positions(numbers.get(number_of(str(key)), NO_IMAGE) for key in keys)
        # Native files have exact ids, old files of Ultralytics numbers. A run may be a part of the file's images, so a
        # row without its exact id is no sign of numbers; one that matches by nothing but its number is.
        exact_rows = of_key[table.key_of_row] != NO_IMAGE
        number_only = (numbered[table.key_of_row] != NO_IMAGE) & ~exact_rows
        by_number = bool(number_only.sum() > MAX_BAD_SHARE * (exact_rows | number_only).sum())
        of_key = numbered if by_number else of_key
    return of_key, by_number


def _paths(keys: Collection[str | int], ids: Sequence[str], files: Sequence[Path]) -> list[tuple[str, int]]:
    """List the paths by which keys may name images, with the image's position; arguments as in `match_images`."""
    alike = shared_stems(ids)
    unsure = {stem for stem, i in alike if ids[i] not in keys}
    paths = [*((image_id, i) for i, image_id in enumerate(ids)), *(each for each in alike if each[0] in unsure)]
    if any(is_image_name(str(key)) for key in keys):
        paths += [(f"{ids[i]}{path.suffix}", i) for i, path in enumerate(files) if ids[i] not in keys]
    return paths


def _positions(found: Iterable[int | None]) -> npt.NDArray[np.int64]:
    """Return the (K,) positions of the images of keys; AMBIGUOUS where it may be several, or one of several keys."""
    positions = [AMBIGUOUS if position is None else position for position in found]
    uses = Counter(positions)
    return np.array([AMBIGUOUS if uses[each] > 1 and each != NO_IMAGE else each for each in positions], np.int64)


def _file_name(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _quoted(key: str | int) -> str:
    return f'"{key}"' if isinstance(key, str) else f"the number {key}"


def _for_other_images(table: PromptTable, ids: Sequence[str]) -> UserError:
    """Return what to raise where no row is for an image of the run."""
    first, none = table.key(0), f"none of its {counted(len(table), 'row')} is for an image of the run"
    both = f'the first image here is {_quoted(first)}, that of the run is "{min(ids, default="")}"'
    return UserError(f"{table.path}: {none}: {both}{RESULTS_ADVICE if isinstance(first, int) else ''}")


def _ambiguous(table: PromptTable, rows: npt.NDArray[np.bool_], ids: Sequence[str]) -> UserError:
    """Return what to raise for (R,) rows that may be for more than one image; it names the first."""
    row = int(np.argmax(rows))
    key = table.key(row)
    name = _file_name(str(key))
    meant = [image_id for image_id in ids if number_of(_file_name(image_id)) == number_of(name)]
    reason = "without folders such names collide; python -m yolo.predict writes a file that keeps the ids"
    if len(alike := [ids[i] for stem, i in shared_stems(ids) if _file_name(stem) == name]) > 1:
        meant, reason = alike, "their names differ in the suffix alone; move one of them to another folder"
    what = f"may be for {meant[0]} or {meant[1]}" if len(meant) > 1 else "cannot be told from another one"
    like_this = f"{rows.sum()} of {counted(len(table), 'row')} like this"
    return UserError(f"{table.location(row)}: its image, {_quoted(key)}, {what} ({like_this}): {reason}")


def check_sizes(table: PromptTable, match: ImageMatch, images: RunImages) -> None:
    """Compare the sizes that the file states with the headers of those images that have rows; no others are read.

    Raises:
        UserError: it is for images of other sizes.
    """
    used = [key for key in np.unique(table.key_of_row).tolist() if key in table.sizes and match.of_key[key] != NO_IMAGE]
    sizes = zip(used, images.sizes(match.of_key[used].tolist()))
    found = {key: size_problem(table.sizes[key], size) for key, size in sizes if size is not None}
    problems = {key: problem for key, problem in found.items() if problem}
    if problems:
        key, problem = next(iter(problems.items()))
        which = f'what it says of "{table.image_keys[key]}" {problem}'
        raise UserError(f"{table.path}: {which} ({len(problems)} of {counted(len(used), 'image')} like this)")
