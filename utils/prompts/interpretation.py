"""Decide what the numbers of a prompt file mean: what its format says, unless the data contradict it.

Formats that mean different things look alike: a list of rows may hold corners or sizes, and ids that count from 0, from
1 or as COCO's do. A wrong guess gives plausible boxes of wrong classes, so there is none: another interpretation is
taken only where the expected one is contradicted and exactly one other fits, and then the run says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import get_args

import numpy as np
import numpy.typing as npt

from utils.boxes import box_limits, xywh_to_xyxy
from utils.engine import RunImages
from utils.errors import UserError
from utils.formats.categories import Categories, CategoryOffset
from utils.formats.yolo_labels import HIGHEST, LOWEST
from utils.io.terminal import counted
from utils.prompts.matching import MAX_BAD_SHARE, NO_IMAGE, ImageMatch
from utils.prompts.table import BoxFormat, Interpretation, PromptTable

MARGIN = 0.1
"""A box is far outside its image where it sticks out by more than this share of the image's side."""

SIZE_SAMPLES = 1000
"""The headers of so many images, evenly spread over those with rows, are read to compare boxes with their sizes."""

TINY_IMAGE = 4
"""In images with larger sides than this, in pixels, not all boxes lie within the first pixel."""

FEW_ROWS = 10
"""Fewer wrong rows than this may be mere mistakes in a file that has right ones, too: ids outside the classes, since
another interpretation would move all classes, and boxes where no other interpretation fits."""

BOX, OFFSET, NAMES = "--bbox-format", "--category-offset", "--prompt-names"
"""Options that decide what a file means."""


Conflict = tuple[tuple[str, ...], str]
"""The options that decide what a file means, and a reason, for messages, why its format alone does not."""


class FormatChecker:
    """Compare the data of a file with its interpretations.

    Args:
        table: the file; what the command line says about it, nothing contradicts.
        categories: what its category ids may mean.
        match: the image of each row.
        images: those of the run.
    """

    def __init__(self, table: PromptTable, categories: Categories, match: ImageMatch, images: RunImages) -> None:
        self._table, self._categories, self._match, self._images = table, categories, match, images
        default, self._said = table.format.interpretation, table.overrides
        offset = self._said.category_offset or default.category_offset
        self._expected = Interpretation(self._said.bbox_format or default.bbox_format, offset)
        is_open = bool(table.format.coco_offsets) and not self._said.category_offset and categories.are_cocos()
        self._coco_offsets = table.format.coco_offsets if is_open else ()
        # Rows whose image's size is known; where boxes can mean one thing only, no header is read.
        fixed = bool(table.format.fixed_boxes)
        self._sized, self._limits = _image_limits(match.of_row[:0] if fixed else match.of_row, images)

    def choose(self) -> tuple[Interpretation, list[str]]:
        """Choose what the command line or the format says unless the data contradict it, else what alone fits them.

        Returns:
            the interpretation, and lines that say why it is not the expected one.

        Raises:
            UserError: the data contradict what is expected, and no other interpretation fits, or more than one, or
                none could.
        """
        self._check_pixels()
        table, expected = self._table, self._expected
        conflicts = self._conflicts() if len(table) else []
        if not conflicts:
            return expected, []
        # Two that give the same boxes and classes leave nothing to decide; the first one of them is as good.
        by_outcome: dict[tuple[str, bytes], Interpretation] = {}
        for each in filter(self._fits, self._possible()):
            class_ids = self._categories.class_ids(each.category_offset)
            by_outcome.setdefault((each.bbox_format, class_ids.tobytes()), each)
        fitting, why = [*by_outcome.values()], "; ".join(reason for _, reason in conflicts)
        but = f"read as {table.format.title}, {table.format.meaning(expected)}; but {why}"
        if len(fitting) == 1:
            return fitting[0], [f"prompts: {but}", "prompts: only one interpretation fits"]
        # Some bad boxes in a file that fits nothing else are mistakes of its maker; the run drops and counts them.
        bad, only_boxes = self._bad_boxes(expected.bbox_format), all(options == (BOX,) for options, _ in conflicts)
        if not fitting and only_boxes and bad.sum() < min(FEW_ROWS, len(bad)):
            return expected, [f"prompts: {why}; no other interpretation fits better"]
        raise UserError(f"{table.path}: {but}; {self._undecided(fitting, conflicts)}")

    def _undecided(self, fitting: Sequence[Interpretation], conflicts: Sequence[Conflict]) -> str:
        """Say what decides a case in which not exactly one interpretation fits."""
        if not fitting:
            options = dict.fromkeys(option for options, _ in conflicts for option in options)
            return f"no other interpretation fits; give {' or '.join(options)}"
        values = zip((BOX, OFFSET), zip(*fitting))
        differ = [option for option, meant in values if len({*meant}) > 1]
        each = " or ".join(f"({self._table.format.meaning(interpretation)})" for interpretation in fitting)
        return f"more than one interpretation fits: {each}; give {' and '.join(differ)}"

    def _possible(self) -> list[Interpretation]:
        """Return all interpretations that neither the format nor the command line rules out."""
        formats: Sequence[BoxFormat] = get_args(BoxFormat)
        offsets: Sequence[CategoryOffset] = self._coco_offsets or get_args(CategoryOffset)
        if self._table.format.fixed_boxes or self._said.bbox_format:
            formats = [self._expected.bbox_format]
        if self._table.format.names_classes or self._said.category_offset:
            offsets = [self._expected.category_offset]
        return [Interpretation(*each) for each in product(formats, offsets)]

    def _fits(self, interpretation: Interpretation) -> bool:
        """Tell whether almost all boxes and all category ids are as this interpretation has them."""
        bad = self._bad_boxes(interpretation.bbox_format)
        boxes_fit = self._said.bbox_format is not None or bad.sum() <= MAX_BAD_SHARE * len(bad)
        return boxes_fit and not self._misfits(interpretation.category_offset).any()

    def _conflicts(self) -> list[Conflict]:
        """List what contradicts the expected interpretation."""
        box_format, offset = self._expected
        bad, misfits, conflicts = self._bad_boxes(box_format), self._misfits(offset), list[Conflict]()
        if self._match.by_number:
            reason = "its image ids are not those of the run but names or numbers of files"
            conflicts.append(((BOX, OFFSET, NAMES), reason))
        if self._coco_offsets:
            conflicts.append(((OFFSET,), "Ultralytics numbers COCO's classes from 1 or as COCO does"))
        if bad.sum() > MAX_BAD_SHARE * len(bad) and self._said.bbox_format is None:
            row = self._table.short_location(int(self._sized[np.argmax(bad)]))
            reason = f"{row}.bbox is inverted or far outside its image as {box_format}"
            conflicts.append(((BOX,), f"{reason} ({bad.sum()} of {counted(len(bad), 'row')})"))
        # A few ids outside the classes do not move all others to another offset: they are refused, one by one.
        few = min(FEW_ROWS, max(2, len(misfits) / 2))
        if misfits.sum() > MAX_BAD_SHARE * len(misfits) and misfits.sum() >= few:
            conflicts.append(((OFFSET, NAMES), describe_first(self._table, self._categories, misfits, offset)))
        return conflicts

    def _bad_boxes(self, bbox_format: BoxFormat) -> npt.NDArray[np.bool_]:
        """Tell which of the (S,) boxes in images of known sizes are inverted or far outside; NaN is neither."""
        boxes = to_corners(self._table.boxes[self._sized], bbox_format)
        inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
        beyond = np.any((boxes < -MARGIN * self._limits) | (boxes > (1 + MARGIN) * self._limits), axis=1)
        return (inverted | beyond) & np.all(np.isfinite(boxes), axis=1)

    def _misfits(self, offset: CategoryOffset) -> npt.NDArray[np.bool_]:
        """Tell which of the (R,) category ids contradict an offset; none if the command line gave it."""
        return self._categories.misfits(offset) & (not self._said.category_offset)

    def warnings(self, interpretation: Interpretation) -> list[str]:
        """Say what the file may mean as well as this interpretation, and where an option makes most boxes wrong."""
        ids, path, given = self._table.category_ids, self._table.path, self._said.bbox_format
        lines, bad = [], self._bad_boxes(interpretation.bbox_format)
        if given and 2 * bad.sum() > len(bad):
            other: BoxFormat = "xywh" if given == "xyxy" else "xyxy"
            fits = len(bad) - int(self._bad_boxes(other).sum())
            lines.append(
                f"{path}: --bbox-format {given} makes {bad.sum()} of {len(bad)} boxes inverted or far outside their "
                f"images; with {other}, {fits} fit: leave the option out or give --bbox-format {other}"
            )
        said = self._said.category_offset is not None or self._table.class_names is not None
        # Where few of the classes occur, it is no wonder that the first one does not.
        few = 2 * len(np.unique(ids)) < len(self._categories.listed("0"))
        if said or few or interpretation.category_offset != "0" or not len(ids) or self._categories.misfits("1").any():
            return lines
        return [*lines, f"{path}: no category id is 0, so they may count from 1: then give --category-offset 1, else 0"]

    def _check_pixels(self) -> None:
        """Raise UserError where boxes are shares of their images' sides, but the format, however meant, has pixels."""
        boxes, prompt_format = self._table.boxes, self._table.format
        boxes = boxes[np.isfinite(boxes).all(axis=1) & boxes.any(axis=1)]
        shares = ((boxes >= LOWEST) & (boxes <= HIGHEST)).all(axis=1)
        if prompt_format.normalized or shares.sum() <= (1 - MAX_BAD_SHARE) * len(boxes):
            return
        _, limits = _image_limits(self._match.of_row, self._images)
        if (limits > TINY_IMAGE).any():
            raise UserError(
                f"{self._table.path}: {shares.sum()} of {len(self._table)} boxes lie within 0 and 1, so they are "
                f"shares of their images' sides, but it was read as {prompt_format.title}, which must have pixels"
            )


def describe_first(
    table: PromptTable, categories: Categories, wrong: npt.NDArray[np.bool_], offset: CategoryOffset
) -> str:
    """Name the first of the (R,) rows whose category ids are wrong, and how many there are."""
    row, count = int(np.argmax(wrong)), len(categories.listed(offset))
    known = "COCO's category ids"
    if offset != "coco91":
        known = f"the {count} classes, which have the ids {offset} to {count - 1 + int(offset)}"
    fact = f"{table.short_location(row)}.category_id: {table.category_ids[row]} is outside {known}"
    return f"{fact} ({wrong.sum()} of {counted(len(wrong), 'row')})"


def to_corners(boxes: npt.NDArray[np.float64], bbox_format: BoxFormat) -> npt.NDArray[np.float64]:
    """Convert (N, 4) boxes of a format to x1 y1 x2 y2."""
    return boxes if bbox_format == "xyxy" else xywh_to_xyxy(boxes)


def _image_limits(
    image_of_row: npt.NDArray[np.int64], images: RunImages
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the (S,) rows whose image's size is read, and (S, 4) width, height, width, height of these images."""
    positions = np.unique(image_of_row[image_of_row != NO_IMAGE])
    if len(positions) > SIZE_SAMPLES:
        positions = positions[np.linspace(0, len(positions) - 1, SIZE_SAMPLES).astype(np.int64)]
    sizes = zip(positions.tolist(), images.sizes(positions.tolist()))
    known = {position: size for position, size in sizes if size is not None}
    rows = np.flatnonzero(np.isin(image_of_row, list(known)))
    table = np.array(list(known.values()), np.float64).reshape(-1, 2)
    return rows, box_limits(table[np.searchsorted(list(known), image_of_row[rows])])
