"""Input checks of a split, in one pass over lists, headers and masks; all problems are reported in one message."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from datasets.voc import VocDataset, label_problem, mask_size_message, objects_size_message
from utils.annotations.source import CHECKED_FIRST
from utils.classes import BACKGROUND, VOID
from utils.cores import usable_cores
from utils.distributed import Session
from utils.errors import first_of, refuse_all
from utils.formats.map_doubts import moved_labels, palette_doubts, shifted_labels, void_doubts
from utils.io.image_files import header_sizes
from utils.io.map_files import index_map_size
from utils.io.terminal import counted, warn
from utils.label_maps import value_counts

LISTS = "split lists and file names"
UNUSABLE = "masks that are missing or no index maps"
SIZE_MISMATCH = "masks of another size than their images"
VALUES = (
    "masks with values outside the classes; where the data has other classes, --set dataset.classes=FILE names them, "
    "where it has other values, dataset.label_map says which label each is"
)
MISSING_IMAGES = "missing images, which alone would not stop the run"


def check_split(
    dataset: VocDataset,
    num_classes: int | None,
    session: Session,
    *,
    others: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Check the lists of a split and its first masks; of an image only the header is read.

    Later masks are checked when they are loaded, and named at the end of the run.

    A missing or unreadable image alone is no problem: the run reports it and goes on. Missing ones are listed with the
    problems.

    Args:
        num_classes: number of classes without the background; None: not known yet, so mask values are not checked, and
            only the headers of masks are read.
        session: the processes of the run, which share the work.
        others: problems of the run that were found elsewhere, by their kind.

    Raises:
        UserError: there are others; lines lead out of JPEGImages or to no frames; an id has several files; masks are
            missing, unreadable, no index maps, of another size than their upright image or hold values outside the
            classes; or all masks hold only 0 and 255. The message names all problems.
    """
    problems = {
        LISTS: dataset.problems,
        **(mask_problems(dataset, num_classes, session) if dataset.with_gt_masks else {}),
        **others,
    }
    heading = f"The split {dataset.split} of {dataset.root} cannot be used:"
    refuse_all(heading, problems | {MISSING_IMAGES: missing_images(dataset)} if any(problems.values()) else {})


def missing_images(dataset: VocDataset) -> list[str]:
    """Return the paths of images that are not there; of those that were found, the first ones are looked at."""
    first = range(min(len(dataset), CHECKED_FIRST))
    lost = {*dataset.missing, *(index for index in first if not os.path.isfile(dataset.paths[index]))}
    return [str(dataset.paths[index]) for index in sorted(lost)]


def missing_warnings(dataset: VocDataset) -> Iterator[str]:
    """Say which images of a split are missing, if any are."""
    if missing := missing_images(dataset):
        yield f"{len(missing)} of {counted(len(dataset), 'image is', 'images are')} missing: {first_of(missing)}"


def mask_problems(dataset: VocDataset, num_classes: int | None, session: Session) -> dict[str, list[str]]:
    """Find the problems, by kind, of the masks of the first images that exist; see `check_split`.

    Where no ground-truth instances are needed, an image may have no mask.
    """
    # `os.path.isfile` answers for names that are too long to exist, too, where `Path.is_file` raises.
    first = range(min(len(dataset), CHECKED_FIRST))
    present = [index for index in first if os.path.isfile(dataset.paths[index])]
    if not dataset.with_gt_instances:
        present = [index for index in present if os.path.isfile(dataset.mask_path(index))]
    share = session.own_share(present)
    with ThreadPoolExecutor(usable_cores()) as pool:
        results = list(pool.map(partial(_check_mask, dataset, num_classes), share))
    found = [(index, *problem) for index, (problems, _, _) in zip(share, results) for problem in problems]
    counts = session.gather([(index, counts) for index, (_, counts, _) in zip(share, results) if counts.any()])
    moved = session.gather([(index, labels) for index, (_, _, labels) in zip(share, results) if labels])
    values = {value for _, each in counts for value in np.flatnonzero(each).tolist()}
    warn(palette_doubts({dataset.mask_path(index): labels for index, labels in sorted(moved)}, mappable=True))
    if not dataset.label_map:  # with one, somebody has thought of it
        fix = f"set dataset.label_map to {shifted_labels(values)}"
        warn(void_doubts(dataset.root / "SegmentationClass", [each[VOID] / each.sum() for _, each in counts], fix))
    problems: dict[str, list[str]] = {UNUSABLE: [], SIZE_MISMATCH: [], VALUES: []}
    for _, kind, text in sorted(session.gather(found)):
        problems[kind].append(text)
    if not any(problems.values()) and VOID in values and values <= {BACKGROUND, VOID}:
        problems[VALUES].append(
            f"{dataset.root / 'SegmentationClass'}: the masks hold only 0 and 255, so they are black and white "
            "pictures, not index maps: 255 is void and not counted. If it is an object here, dataset.label_map in the "
            'config says which label it has: {"255": 1}'
        )
    return problems


def _check_mask(
    dataset: VocDataset, num_classes: int | None, index: int
) -> tuple[list[tuple[str, str]], npt.NDArray[np.int64], dict[int, int]]:
    """Check a mask.

    Returns:
        its problems, each with its kind; and if the classes are known, the (256,) pixels of each value, else zeros, and
        the labels that its palette shows for its values if those are others.
    """
    path, counts, moved = dataset.mask_path(index), np.zeros(256, np.int64), dict[int, int]()
    try:
        target = None if num_classes is None else dataset.target(index)
        shape = index_map_size(path, colored=dataset.colors is not None) if target is None else target.shape
    except ValueError as error:
        return [(UNUSABLE, f"{path}: {error}")], counts, moved
    problems = [(SIZE_MISMATCH, f"{path}: {reason}") for reason in _size_mismatch(dataset.paths[index], shape)]
    if dataset.with_gt_instances:
        problems += _object_problems(dataset.objects_path(index), shape, colored=dataset.colors is not None)
    if target is not None and num_classes is not None:
        counts = value_counts(target)
        if not dataset.label_map and dataset.colors is None:
            moved = moved_labels(path)
        if reason := label_problem(target, num_classes):
            problems.append((VALUES, f"{path}: {reason}"))
    return problems, counts, moved


def _size_mismatch(image: Path, mask: tuple[int, ...]) -> Iterator[str]:
    """Yield a message if a mask of a (height, width) does not fit its image; any mask fits an unreadable image."""
    try:
        upright, stored = header_sizes(image)
    except ValueError:
        return
    if mask != upright:
        turned = "; the image's EXIF turns it, nothing has turned the mask" if mask == stored else ""
        yield mask_size_message(mask, upright) + turned


def _object_problems(path: Path, mask: tuple[int, ...], *, colored: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the map of an image's objects, if it has one."""
    try:
        if path.is_file() and (size := index_map_size(path, deep=True, colored=colored)) != mask:
            yield SIZE_MISMATCH, f"{path}: {objects_size_message(size, mask)}"
    except ValueError as error:
        yield UNUSABLE, f"{path}: {error}"
