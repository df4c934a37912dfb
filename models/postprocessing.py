"""Change what a cascade has found, as far as the config asks for it: map classes, clean masks, estimate their IoU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from utils.annotations.fingerprint import file_hash
from utils.boxes import covered_pixels
from utils.class_map import ClassMap
from utils.config import CleanupConfig
from utils.distributed import Session
from utils.engine import Cascade, Result
from utils.errors import SampleError, UserError
from utils.io.terminal import counted
from utils.masks import Mask
from utils.metrics.calibration import Calibration, scores_of
from utils.structures import Instances, Sample


def postprocessed(
    cascade: Cascade, class_map: ClassMap, cleanup: CleanupConfig, calibration: Calibration | None = None
) -> Cascade:
    """Wrap a cascade: map classes, clean masks, then estimate the IoU of objects, each where it is asked for."""
    if not class_map.changes_nothing:
        cascade = MappedCascade(cascade, class_map)
    if cleanup != CleanupConfig():
        cascade = CleanedCascade(cascade, cleanup)
    return cascade if calibration is None else CalibratedCascade(cascade, calibration, class_map.names)


class Postprocessing(ABC):
    """Change the results of another cascade; images that could not be used stay what they are."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Return the instances of each image of a batch, in order."""
        results = self._cascade(samples)  # which is called at once, so that a GPU can begin
        return (each if isinstance(each, SampleError) else self._change(*each) for each in results)

    def summary_lines(self, session: Session) -> list[str]:
        """Return what the cascade has to say, and what was changed."""
        return [*self._cascade.summary_lines(session), *self._own_lines(session)]

    @abstractmethod
    def _change(self, sample: Sample, instances: Instances) -> tuple[Sample, Instances]: ...

    @abstractmethod
    def _own_lines(self, session: Session) -> Iterator[str]: ...


class MappedCascade(Postprocessing):
    """Give instances and ground truth the classes of the run, where `dataset.class_map` merges, renames or drops some.

    Tracks and masks stay as they are.
    """

    def __init__(self, cascade: Cascade, class_map: ClassMap) -> None:
        super().__init__(cascade)
        self._map, self._seen = class_map, Counter[str]()

    def _change(self, sample: Sample, instances: Instances) -> tuple[Sample, Instances]:
        self._seen.update(self._map.source[i] for i in instances.detections.class_ids)
        if sample.gt_mask is not None:
            sample = replace(sample, gt_mask=np.asarray(cv2.LUT(sample.gt_mask, self._map.labels), np.uint8))
        if sample.gt_instances is not None:
            sample = replace(sample, gt_instances=self._map.of_run(sample.gt_instances))
        if sample.gt_box_instances is not None:
            sample = replace(sample, gt_box_instances=self._map.of_run(sample.gt_box_instances))
        return sample, self._map.of_run(instances)

    def _own_lines(self, session: Session) -> Iterator[str]:
        """Say how many objects were dropped, and which names never occurred."""
        seen, source = session.sum_counts(self._seen), self._map.source
        dropped = [source[i] for i in np.flatnonzero(self._map.ids < 0)]
        if counts := ", ".join(f"{name} {seen[name]}" for name in dropped if seen[name]):
            yield f"class_map: objects of dropped classes: {counts}"
        if never := ", ".join(name for name in source[self._map.num_listed :] if not seen[name]):
            yield f"class_map: nothing was called {never}"


class CleanedCascade(Postprocessing):
    """Clean the masks of another cascade's instances; see `clean`."""

    def __init__(self, cascade: Cascade, settings: CleanupConfig) -> None:
        super().__init__(cascade)
        self._settings, self._changes = settings, Counter[str]()

    def _change(self, sample: Sample, instances: Instances) -> tuple[Sample, Instances]:
        if sample.gt_box_instances is not None:
            sample = replace(sample, gt_box_instances=self._clean(sample.gt_box_instances))
        return sample, self._clean(instances)

    def _clean(self, instances: Instances) -> Instances:
        cleaned, changes = clean(instances, self._settings)
        self._changes += changes
        return cleaned

    def _own_lines(self, session: Session) -> Iterator[str]:
        """Say how much was cleaned."""
        return (f"cleanup: {change}: {count}" for change, count in sorted(session.sum_counts(self._changes).items()))


class CalibratedCascade(Postprocessing):
    """Give found objects their expected IoU, by a calibration that an evaluation has written.

    Args:
        cascade: finds the instances.
        calibration: maps their scores.
        names: class names, by class id.
    """

    def __init__(self, cascade: Cascade, calibration: Calibration, names: Sequence[str]) -> None:
        super().__init__(cascade)
        self._calibration, self._names = calibration, names
        self._found: list[tuple[list[float], list[list[float]]]] = []

    def _change(self, sample: Sample, instances: Instances) -> tuple[Sample, Instances]:
        expected = self._calibration.expected_ious(instances, self._names)
        known = ~np.isnan(expected)
        if known.any():
            self._found.append((expected[known].tolist(), scores_of(instances)[known].tolist()))
        return sample, replace(instances, expected_ious=expected)

    def _own_lines(self, session: Session) -> Iterator[str]:
        """Say what the expected IoUs are on average, and which scores differ from those of the fit."""
        found = session.gather(self._found)
        if not found:
            return
        expected = np.concatenate([ious for ious, _ in found])
        mean, objects = float(expected.mean()), len(expected)
        low, high = self._calibration.mean_interval(mean, objects, len(found))
        where = f"{counted(objects, 'object')} in {counted(len(found), 'image')}"
        yield f"calibration: expected mean IoU {mean:.4f} (95 %: {low:.4f} to {high:.4f}) of {where}"
        shifts = self._calibration.shifts(np.concatenate([scores for _, scores in found]))
        for name, distance in shifts.items():
            fact = f"{name} is distributed otherwise than where the calibration was fitted (Kolmogorov-Smirnov"
            advice = f"{distance:.2f}): expected IoUs and their interval may be wrong; fit it on images like these"
            yield f"calibration: warning: {fact} {advice}"


def load_calibration(path: Path, models: Mapping[str, Path]) -> Calibration:
    """Read a calibration for the models of a run.

    Args:
        models: their weight files, by model.

    Raises:
        UserError: the file cannot be used, or other weights gave the scores that it was fitted to.
    """
    calibration = Calibration.load(path)
    for model, weights in models.items():
        if calibration.weights.get(model, file_hash(weights)) != file_hash(weights):
            advice = "evaluate a labelled split with these, which writes their calibration.json"
            raise UserError(f"{path}: was fitted to the scores of another {model} than {weights}; {advice}")
    return calibration


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
