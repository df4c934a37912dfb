"""Cleanup of masks, as far as the config asks for it: clipping, holes, small parts, pixels of several objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from utils.boxes import covered_pixels
from utils.config import CleanupConfig
from utils.distributed import Session
from utils.engine import Cascade, Result
from utils.errors import SampleError
from utils.masks import Mask
from utils.structures import Instances, Sample


def with_cleanup(cascade: Cascade, settings: CleanupConfig) -> Cascade:
    """Wrap a cascade so that its masks are cleaned, where the settings ask for anything."""
    return cascade if settings == CleanupConfig() else CleanedCascade(cascade, settings)


class CleanedCascade:
    """Clean the masks of another cascade's instances."""

    def __init__(self, cascade: Cascade, settings: CleanupConfig) -> None:
        self._cascade, self._settings, self._changes = cascade, settings, Counter[str]()

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Return the instances of each image of a batch, in order."""
        return map(self._cleaned, self._cascade(samples))  # which is called at once, so that a GPU can begin

    def summary_lines(self, session: Session) -> list[str]:
        """Return what the cascade has to say, and how much was cleaned."""
        changes = sorted(session.sum_counts(self._changes).items())
        return [*self._cascade.summary_lines(session), *(f"cleanup: {change}: {count}" for change, count in changes)]

    def _cleaned(self, result: Result) -> Result:
        if isinstance(result, SampleError):
            return result
        sample, instances = result
        if sample.gt_box_instances is not None:
            sample = replace(sample, gt_box_instances=self._clean(sample.gt_box_instances))
        return sample, self._clean(instances)

    def _clean(self, instances: Instances) -> Instances:
        cleaned, changes = clean(instances, self._settings)
        self._changes += changes
        return cleaned


def clean(instances: Instances, settings: CleanupConfig) -> tuple[Instances, Counter[str]]:
    """Clean masks: clip first, then fill holes, then remove parts, then share out pixels of several objects.

    A mask that loses all its pixels is kept as an empty one.

    Returns:
        the instances with clean masks, and the changes, counted by their description.
    """
    changes, masks = Counter[str](), []
    for mask, box in zip(instances.masks, instances.detections.boxes):
        crop = mask.crop.copy()
        if settings.clip_to_box:
            changes["masks clipped to their boxes"] += clip(crop, box - np.tile(mask.offset, 2))
        changes["holes filled"] += fill_holes(crop, settings.largest_hole)
        changes["parts removed"] += remove_parts(crop, settings.smallest_part, settings.largest_part_only)
        changes["masks left without a pixel"] += bool(mask.crop.size) and not crop.any()
        tight = Mask.from_array(crop)
        masks.append(Mask(mask.left + tight.left, mask.top + tight.top, tight.crop))
    cleaned = replace(instances, masks=masks)
    if settings.disjoint:
        cleaned, changes["pixels taken from objects under others"] = without_overlaps(cleaned)
    return cleaned, +changes


def without_overlaps(instances: Instances) -> tuple[Instances, int]:
    """Leave each pixel to the instance that wins it in label maps.

    Returns:
        the instances, some of them perhaps without a pixel now, and how many pixels masks lost.
    """
    winner = instances.rasterize(np.arange(1, len(instances) + 1))
    masks = []
    for number, mask in enumerate(instances.masks, 1):
        tight = Mask.from_array(winner[mask.slices] == number)
        masks.append(Mask(mask.left + tight.left, mask.top + tight.top, tight.crop))
    lost = sum(mask.area for mask in instances.masks) - int(np.count_nonzero(winner))
    return replace(instances, masks=masks), lost


def clip(crop: npt.NDArray[np.bool_], box: npt.NDArray[np.float32]) -> bool:
    """Remove, in place, the pixels of a (h, w) mask that the box does not cover, not even in part.

    Args:
        box: (4,) x1 y1 x2 y2 in pixels of the crop.

    Returns:
        whether there were any.
    """
    outside = np.ones(crop.shape, bool)
    outside[covered_pixels(box, crop.shape)] = False
    outside &= crop
    crop[outside] = False
    return bool(outside.any())


def fill_holes(crop: npt.NDArray[np.bool_], largest: int) -> int:
    """Fill, in place, the holes (4 neighbours) of at most `largest` pixels in a (h, w) mask; return their number."""
    if not largest:
        return 0
    background = np.pad(~crop, 1, constant_values=True).view(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= largest
    small[[0, parts[0, 0]]] = False  # the mask itself, and the background around it
    crop |= small[parts[1:-1, 1:-1]]
    return int(np.count_nonzero(small))


def remove_parts(crop: npt.NDArray[np.bool_], smallest: int, largest_only: bool) -> int:
    """Remove, in place, the parts (8 neighbours) of fewer than `smallest` pixels of a (h, w) mask.

    Args:
        largest_only: keep at most one part, the first of equally large ones.

    Returns:
        how many parts were removed.
    """
    if not crop.size or (smallest <= 1 and not largest_only):
        return 0
    _, parts, stats, _ = cv2.connectedComponentsWithStats(crop.view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    kept = areas >= max(smallest, 1)
    if largest_only:
        kept &= np.arange(len(areas)) == areas.argmax()
    crop &= kept[parts]
    return len(areas) - 1 - int(np.count_nonzero(kept))
