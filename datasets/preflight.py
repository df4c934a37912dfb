"""What cannot work is found before work begins, in one pass over lists, headers and masks, and said in one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from datasets.images import read_image
from datasets.voc import VocDataset, misfit
from utils.classes import BACKGROUND, VOID
from utils.distributed import Session
from utils.errors import SHOWN, refuse_all
from utils.io.image_files import image_size, index_map_size, object_map_size, stored_size
from utils.label_maps import value_counts

LISTS = "split lists and file names"
UNUSABLE = "masks that are missing or no index maps"
MISFIT = "masks of another size than their images"
VALUES = "masks with values outside the classes"
GONE = "images that are missing, which alone would stop no run"

Problems = dict[str, list[str]]
"""What is wrong, by its kind."""


def check_split(
    dataset: VocDataset,
    num_classes: int | None,
    session: Session,
    *,
    masks: bool = True,
    may_lack: bool = False,
    others: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Check the lists of a split and every mask; of an image only the header is read.

    An image that is missing or cannot be read is no problem by itself: the run names it and goes on without it. What is
    missing is listed with the problems, or warned of if there are none.

    Args:
        num_classes: how many classes there are, without the background; None: not known yet, so of masks, too, only
            the headers are read, and values are left unchecked.
        session: the processes of the run, each of which looks at a part.
        masks: whether masks are used.
        may_lack: whether images may have none.
        others: problems of the run that were found elsewhere, by their kind.

    Raises:
        UserError: there are others, lines lead out of JPEGImages or to no frames, an id has several files; masks are
            missing, unreadable, no index maps, of another size than their upright image or hold values outside the
            classes; or the whole split holds only 0 and 255. All problems stand in one message.
    """
    problems = {
        LISTS: dataset.problems,
        **(mask_problems(dataset, num_classes, session, may_lack=may_lack) if masks else {}),
        **others,
    }
    gone = [str(path) for path in dataset.paths if not _is_file(path)]
    heading = f"The split {dataset.split} of {dataset.root} cannot be used:"
    refuse_all(heading, problems | {GONE: gone} if any(problems.values()) else {})
    if gone and session.is_main:
        shown = ", ".join(gone[:SHOWN]) + (", ..." if len(gone) > SHOWN else "")
        print(f"warning: {len(gone)} of {len(dataset)} images are missing: {shown}", file=sys.stderr)


def mask_problems(
    dataset: VocDataset, num_classes: int | None, session: Session, *, may_lack: bool = False
) -> Problems:
    """What is wrong with the masks of the images that are there; the arguments are those of `check_split`."""
    present = [index for index, path in enumerate(dataset.paths) if _is_file(path)]
    if may_lack:
        present = [index for index in present if _is_file(dataset.mask_path(index))]
    share = session.shard(present)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(partial(_check_mask, dataset, num_classes), share))
    found = [(index, *problem) for index, (problems, _) in zip(share, results) for problem in problems]
    values = set(session.gather(sorted(set().union(*(values for _, values in results)))))
    problems: Problems = {UNUSABLE: [], MISFIT: [], VALUES: []}
    for _, kind, text in sorted(session.gather(found)):
        problems[kind].append(text)
    if not any(problems.values()) and VOID in values and values <= {BACKGROUND, VOID}:
        problems[VALUES].append(
            f"{dataset.root / 'SegmentationClass'}: the masks hold only 0 and 255, so they are black and white "
            "pictures, not index maps: 255 is void and not counted. If it is an object here, dataset.label_map in the "
            'config says which label it has: {"255": 1}'
        )
    return problems


def _is_file(path: Path) -> bool:
    """Whether there is such a file; not so for a name that is too long to be one, where `Path.is_file` raises."""
    return os.path.isfile(path)


def _check_mask(dataset: VocDataset, num_classes: int | None, index: int) -> tuple[list[tuple[str, str]], set[int]]:
    """The problems of a mask, each with its kind, and the values that it holds, where they are looked at."""
    path, values = dataset.mask_path(index), set[int]()
    try:
        target = None if num_classes is None else dataset.target(index)
        shape = index_map_size(path) if target is None else target.shape
    except ValueError as error:
        return [(UNUSABLE, f"{path}: {error}")], values
    problems = [(MISFIT, f"{path}: {reason}") for reason in _misfits(dataset.paths[index], shape)]
    if dataset.with_truth:
        problems += _object_problems(dataset.objects_path(index), shape)
    if target is not None and num_classes is not None:
        values |= set(np.flatnonzero(value_counts(target)).tolist())
        for value in sorted(values - {*range(num_classes + 1), VOID})[:1]:
            y, x = np.argwhere(target == value)[0]
            reason = f"value {value} (x {x}, y {y}) is outside 0 to {num_classes}, and not {VOID} (void)"
            problems.append((VALUES, f"{path}: {reason}"))
    return problems, values


def _misfits(image: Path, mask: tuple[int, ...]) -> Iterator[str]:
    """Why a mask of a (height, width) does not fit its image, if so; an image that cannot be read fits."""
    try:
        if mask == image_size(image):
            return
        # A PNG may keep its EXIF behind the pixels, so before a mask is called wrong the pixels decide.
        upright, stored = read_image(image).shape[:2], stored_size(image)
    except ValueError:
        return
    if mask != upright:
        turned = "; the image's EXIF turns it, nothing has turned the mask" if mask == stored else ""
        yield misfit(mask, upright) + turned


def _object_problems(path: Path, mask: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """What is wrong with the map of an image's objects, if it has one."""
    try:
        if path.is_file() and (size := object_map_size(path)) != mask:
            yield MISFIT, f"{path}: {size[1]}x{size[0]} pixels, the label map has {mask[1]}x{mask[0]}"
    except ValueError as error:
        yield UNUSABLE, f"{path}: {error}"
