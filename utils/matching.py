"""Matching one to one: which row of a score matrix belongs to which column, each in one pair at most; and by path.

COCO's average precision is no user of these: there pycocotools matches, by falling score and a threshold at a time.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Rows, ascending, and the column of each; (P,) int64 both."""


def match_best_total(scores: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_] | None = None) -> Pairs:
    """Choose the pairs whose scores are the largest in total (Hungarian method; Kuhn 1955, by scipy).

    Args:
        scores: (N, M) of each pair, such as its IoU, 0 or more; a caller that prefers some pairs adds a bonus to them.
        allowed: (N, M), which pairs there may be. None: all, and then min(N, M) pairs are chosen.
    """
    from scipy.optimize import linear_sum_assignment

    # A forbidden pair gains nothing, so it never takes the place of an allowed one; chosen all the same, it is dropped.
    gains = scores if allowed is None else np.where(allowed, scores, 0)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    chosen = slice(None) if allowed is None else allowed[rows, columns]
    return rows[chosen], columns[chosen]


def match_best_first(scores: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_]) -> Pairs:
    """Choose the allowed pair of the highest score, then the highest of what is left, and so on.

    Where two objects resemble one, the closer one gets it, whatever becomes of the other; the best total might decide
    otherwise. Ties go to the lower row, then to the lower column. Arguments as in `match_best_total`.
    """
    column_of, taken = dict[int, int](), set[int]()
    candidates = np.argwhere(allowed)
    for row, column in candidates[np.argsort(-scores[allowed], kind="stable")].tolist():
        if row not in column_of and column not in taken:
            column_of[row] = column
            taken.add(column)
    rows = np.array(sorted(column_of), np.int64)
    return rows, np.array([column_of[row] for row in rows.tolist()], np.int64)


def unique_aliases(aliases: Iterable[tuple[str, T | None]]) -> dict[str, T | None]:
    """Map each alias to what it stands for, or to None where that is more than one thing."""
    meant: dict[str, T | None] = {}
    for alias, thing in aliases:
        if meant.setdefault(alias, thing) != thing:
            meant[alias] = None
    return meant


def composed(path: str) -> str:
    """Return a path with one character for each letter, accents included (NFC); disks of a Mac may have two for `ä`."""
    return unicodedata.normalize("NFC", path)


def tails(path: str) -> Iterator[str]:
    """Yield the path, and what is left of it without its first folders: `a/b/c`, `b/c`, `c`."""
    while path:
        yield path
        path = path.partition("/")[2]


Ends = Callable[[str], Iterable[str]]


class PathIndex(Generic[T]):
    """Find what a path stands for among others, which may start in another folder: never guess between two.

    The path a/b may be train/a/b there, whose root then lies higher, or b, whose root lies lower.

    Args:
        paths: the others, and what each stands for.
        ends: under which names each of them may be found, itself among them.
    """

    def __init__(self, paths: Iterable[tuple[str, T]], ends: Ends = tails) -> None:
        pairs = [*paths]
        self._exact = self._composed = unique_aliases(pairs)
        if not all(path.isascii() for path, _ in pairs):
            self._composed = unique_aliases((composed(path), thing) for path, thing in pairs)
        self._longer = unique_aliases((composed(end), thing) for path, thing in pairs for end in ends(path))

    def find(self, path: str, missing: T, ends: Ends = tails) -> T | None:
        """Return what a path, or the longest of its ends, stands for; `missing`: nothing; None: perhaps several."""
        if path in self._exact:
            return self._exact[path]
        path = composed(path)
        for known in (self._composed, self._longer):
            if path in known:
                return known[path]
        shorter = max((end for end in ends(path) if end in self._composed), key=len, default=None)
        return missing if shorter is None else self._composed[shorter]


def place_below(folder: Path, ids: Sequence[str], paths: Sequence[Path]) -> str:
    """Return how the paths of a run's images begin below the folder of their labels, such as `images/val/`.

    Args:
        folder: that of labels, or a file in it.
        ids: image ids of the run.
        paths: the files of its images.

    Returns:
        nothing where the images are not below the folder, or no folder of them is; nor where they are of several
        sources, below each of which ids begin.
    """
    above = Path(os.path.abspath(folder if folder.is_dir() else folder.parent))
    roots = map(_root, ids, map(str, paths))
    root = next(roots, None)
    place = Path(os.path.abspath(root or "."))
    if root is None or above not in place.parents or any(each != root for each in roots):
        return ""
    return f"{place.relative_to(above).as_posix()}/"


def _root(image_id: str, path: str) -> str | None:
    """Return how the path of an image begins before its id; None for a frame of a video, which has no such path."""
    path = path.replace(os.sep, "/")
    found = (each for each in (os.path.splitext(path)[0], path) if f"/{each}".endswith(f"/{image_id}"))
    return next((each.removesuffix(image_id) for each in found), None)


def keys_of_place(keys: Iterable[str | int], place: str) -> dict[str | int, str]:
    """Map the paths among keys that lie as the images of a place do to what follows it.

    Labels of ds/val/images/a.jpg and of ds/images/val/a.jpg are at val/a below ds, as are those of a VOC tree for
    ds/JPEGImages/val/a.jpg; lists of files have the path itself. If no key is one of these, each is mapped to itself.
    """
    paths = [key for key in keys if isinstance(key, str)]
    labels = without_images(f"{place.replace('JPEGImages/', 'images/', 1)}*").removesuffix("*")
    for start in (labels, place) if labels else ():
        if inside := [path for path in paths if path.startswith(start)]:
            return {path: path.removeprefix(start) for path in inside}
    return dict(zip(paths, paths))


def several_folders(pairs: Iterable[tuple[str, str]]) -> str:
    """Say in which folders paths lie that stand for shorter ones, with counts; nothing if it is one folder at most.

    An image without objects may have no file, and then gets the one of an image of its name in another split.

    Args:
        pairs: each path, and the shorter one, an image id.
    """
    longer = ((path, f"/{image_id}") for path, image_id in pairs)
    counts = Counter(path.removesuffix(end) for path, end in longer if path.endswith(end))
    return ", ".join(f"{folder}/ {count}" for folder, count in counts.most_common()) if len(counts) > 1 else ""


def names_of_image(image_id: str) -> Iterator[str]:
    """Yield the names that an image may have in tools that keep one file for each: its tails, and a_b for each a/b."""
    for path in dict.fromkeys((image_id, without_images(image_id))):  # a set has another order in each process
        for tail in tails(path):
            yield from (tail, tail.replace("/", "_"))


def without_images(image_id: str) -> str:
    """Return the path of an image's labels without the folder `labels`; ultralytics has it in place of `images`."""
    head, _, name = f"/{image_id}".rpartition("/images/")
    return f"{head}/{name}".lstrip("/")


def number_of(name: str) -> str:
    """Return the number that a name is, as Ultralytics writes it, without zeros before it; another name stays."""
    return name.lstrip("0") or "0" if name.isascii() and name.isdigit() else name


def without_upload(path: str) -> str:
    """Return the path of a photo without the eight hexadecimal digits that Label Studio puts before its name."""
    return re.sub(r"(^|/)[0-9a-f]{8}-(?=[^/]+$)", r"\1", path)
