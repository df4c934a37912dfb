"""Whether the masks of a split can be evaluated or trained on, found out before work begins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from datasets.images import read_image
from datasets.problems import refuse
from datasets.voc import VocDataset, misfit
from utils.classes import BACKGROUND, VOID
from utils.errors import UserError
from utils.image_files import image_size


def check_targets(dataset: VocDataset, num_classes: int) -> None:
    """Check every mask of a split; of an image only the header is read.

    An image that is missing or cannot be read is no problem here: the run names it and goes on without it.

    Args:
        num_classes: how many classes there are, without the background.

    Raises:
        UserError: masks are missing, unreadable, no index maps, of another size than their upright image or hold
            values outside the classes (all problems in one message), or the whole split holds only 0 and 255.
    """
    present = [index for index, path in enumerate(dataset.paths) if path.is_file()]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(partial(_check_target, dataset, num_classes), present))
    problems = [f"{dataset.mask_path(index)}: {why}" for index, (why, _) in zip(present, results, strict=True) if why]
    refuse(f"The masks of the split {dataset.split} cannot be used:", problems)
    values = {value for _, values in results for value in values}
    if VOID in values and values <= {BACKGROUND, VOID}:
        raise UserError(
            f"{dataset.root / 'SegmentationClass'}: the masks of the split {dataset.split} hold only 0 and 255, so "
            "they are black and white pictures, not index maps: 255 is void and not counted. If it is an object here, "
            'dataset.label_map in the config says which label it has: {"255": 1}'
        )


def _check_target(dataset: VocDataset, num_classes: int, index: int) -> tuple[str, set[int]]:
    """What is wrong with a mask ("" if nothing), and the values that it holds."""
    try:
        target = dataset.target(index)
    except ValueError as error:
        return str(error), set()
    size = _upright_size(dataset.paths[index], target.shape)
    if target.shape != size:
        return misfit(target.shape, size), set()
    values = np.flatnonzero(np.bincount(target.ravel(), minlength=256))
    outside = values[(values > num_classes) & (values != VOID)]
    if outside.size:
        y, x = np.argwhere(target == outside[0])[0]
        return f"value {outside[0]} (x {x}, y {y}) is outside 0 to {num_classes}, and not {VOID} (void)", set()
    return "", set(values.tolist())


def _upright_size(path: Path, expected: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width) of an image, or `expected` where the image cannot be read."""
    try:
        size = image_size(path)
        # A PNG may keep its EXIF behind the pixels, so before a mask is called wrong the pixels decide.
        return size if size == expected else read_image(path).shape[:2]
    except ValueError:
        return expected
