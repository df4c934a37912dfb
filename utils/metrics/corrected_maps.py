"""The label map that an image would get if some errors of the detector or of SAM2 were corrected.

SAM2 segments the detected boxes and the boxes of the true instances. From these two results follows the label map with
any of five errors corrected; `attribution.py` tells from their mean IoU what each error costs:

    false          boxes that fit no object; corrected, they are gone
    badly_placed   boxes that fit an object of their class; corrected, their masks are those of the true boxes
    missed         objects that no box fits; corrected, the masks of their true boxes are added
    wrong_class    boxes that fit an object of another class; corrected, they have its class
    sam2           what separates the masks of the true boxes from the target; corrected, it is gone

The kinds of errors and their limits are TIDE's (Bolya et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from utils.boxes import box_iou
from utils.classes import BACKGROUND, VOID
from utils.masks import Mask
from utils.matching import Pairs, match_best_total
from utils.metrics.segmentation import LabelCounts, confusion_matrix
from utils.structures import Detections, Instances, Sample

ERRORS = ("false", "badly_placed", "missed", "wrong_class", "sam2")

MATCH = 0.1
"""Boxes that overlap less are no pair but a false and a missed one; TIDE's bound of what is called badly placed."""

WRONG_CLASS = 0.5
"""From this IoU on, a box that is left over and an object of another class are a pair; TIDE's bound, too."""

Coalition = frozenset[str]
"""The errors that are corrected."""


class BoxKinds(NamedTuple):
    """The kinds of the boxes of an image, as positions among the found and the true ones.

    Each box is in one pair at most. Pairs are chosen so that their IoU is the largest in total.

    Attributes:
        matched: pairs of one class, with an IoU of MATCH at least.
        wrong_class: pairs of different classes among the rest, with an IoU of WRONG_CLASS at least.
        false, missed: found and true boxes in no pair.
    """

    matched: Pairs
    wrong_class: Pairs
    false: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]


def box_kinds(found: Detections, true: Detections, wrong_class: bool = True) -> BoxKinds:
    """Return the boxes of an image by kind; without `wrong_class`, such a box is a false and a missed one."""
    ious, same_class = box_iou(found.boxes, true.boxes), found.class_ids[:, None] == true.class_ids
    matched = match_best_total(ious, same_class & (ious >= MATCH))
    rest = ~same_class & (ious >= WRONG_CLASS) & wrong_class
    rest[matched[0]], rest[:, matched[1]] = False, False
    other = match_best_total(ious, rest)
    taken = [np.concatenate(each) for each in zip(matched, other)]
    left = [np.setdiff1d(np.arange(len(each)), used) for each, used in zip((found, true), taken)]
    return BoxKinds(matched, other, left[0], left[1])


class CorrectedMaps:
    """Draw the label map of an image with any of its errors corrected.

    Where SAM2 is corrected and a badly placed box is not, a mask is right where both decodes of the object agree, since
    there the box makes no difference; where they differ, the mask of the detected box stays.

    Args:
        sample: with its target and its true instances.
        found: what SAM2 makes of the detected boxes.
        true: what it makes of the boxes of the true instances, in their order.
        kinds: of the boxes.
    """

    def __init__(self, sample: Sample, found: Instances, true: Instances, kinds: BoxKinds) -> None:
        assert sample.gt_mask is not None and sample.gt_instances is not None, sample.image_id
        self._found, self._true, self._kinds, self._perfect = found, true, kinds, sample.gt_instances
        self._gt_mask, self._target = sample.gt_mask, np.where(sample.gt_mask == VOID, BACKGROUND, sample.gt_mask)
        drawn = self._perfect.to_semantic()
        self._rest = np.where(drawn == self._target, VOID, drawn)  # what the true objects themselves get wrong
        present = {"false": kinds.false, "missed": kinds.missed, "wrong_class": kinds.wrong_class[0]}
        present["badly_placed"] = np.concatenate([kinds.matched[0], kinds.wrong_class[0]])
        self._present = frozenset({"sam2", *(error for error, boxes in present.items() if len(boxes))})

    def draw(self, corrected: Coalition) -> npt.NDArray[np.uint8]:
        """Return the (H, W) label map; with all errors corrected, the target, whose void is background."""
        label_map = self._instances(corrected).to_semantic()
        if "sam2" in corrected:  # specks, and objects whose pixels have several labels
            label_map = np.where(label_map == self._rest, self._target, label_map)
        return label_map

    def counts(self, every: Iterable[Coalition], num_labels: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each label under C coalitions, (C, 3, num_labels) as `LabelCounts.pixels` has them."""
        known: dict[Coalition, npt.NDArray[np.int64]] = {}
        rows = []
        for coalition in every:
            corrected = coalition & self._present  # correcting what is not there changes nothing
            if corrected not in known:
                matrix = confusion_matrix(self.draw(corrected), self._gt_mask, num_labels)
                known[corrected] = LabelCounts.from_matrix(matrix).pixels
            rows.append(known[corrected])
        return np.stack(rows)

    def _instances(self, corrected: Coalition) -> Instances:
        rows, columns = (np.concatenate(each) for each in zip(self._kinds.matched, self._kinds.wrong_class))
        order = np.argsort(rows, kind="stable")
        parts = [self._paired(i, j, corrected) for i, j in zip(rows[order].tolist(), columns[order].tolist())]
        if "false" not in corrected:
            parts += [(i, *self._entry(self._found, i)) for i in self._kinds.false.tolist()]
        parts.sort(key=lambda part: part[0])
        for j in self._kinds.missed.tolist() if "missed" in corrected else ():
            class_id, mask, score = self._entry(self._true, j)
            parts.append((0, class_id, self._perfect.masks[j] if "sam2" in corrected else mask, score))
        _, class_ids, masks, scores = zip(*parts) if parts else ((), (), (), ())
        return Instances.from_masks(self._found.size, class_ids, masks, mask_scores=scores)

    def _paired(self, i: int, j: int, corrected: Coalition) -> tuple[int, int, Mask, float]:
        """Return place, class, mask and mask score of a found box and its object."""
        class_id, mask, score = self._entry(self._found, i)
        true_class_id, of_true_box, true_score = self._entry(self._true, j)
        if "wrong_class" in corrected:
            class_id = true_class_id
        if "badly_placed" in corrected:
            mask, score = (self._perfect.masks[j] if "sam2" in corrected else of_true_box), true_score
        elif "sam2" in corrected:
            mask = _right_where_alike(mask, of_true_box, self._perfect.masks[j], self._found.size)
        return i, class_id, mask, score

    @staticmethod
    def _entry(instances: Instances, i: int) -> tuple[int, Mask, float]:
        return int(instances.detections.class_ids[i]), instances.masks[i], float(instances.mask_scores[i])


def _right_where_alike(found: Mask, of_true_box: Mask, perfect: Mask, size: tuple[int, int]) -> Mask:
    """Return the found mask, corrected where the mask of the true box is the same."""
    ours, theirs, target = (mask.to_full(size) for mask in (found, of_true_box, perfect))
    return Mask.from_array(np.where(ours == theirs, target, ours))
