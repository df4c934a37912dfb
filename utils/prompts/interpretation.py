"""Decide what the numbers of a prompt file mean: what its format says, unless the data contradict it.

Formats that mean different things look alike: a list of rows may hold corners or sizes, and ids that count from 0, from
1 or as COCO's do. A wrong guess gives plausible boxes of wrong classes, so there is none: another interpretation is
taken only where the expected one is contradicted and exactly one other fits, and then the run says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from utils.boxes import box_limits, xywh_to_xyxy
from utils.classes import COCO_CLASSES, canonical
from utils.engine import RunImages
from utils.errors import UserError
from utils.formats.yolo_labels import HIGHEST, LOWEST
from utils.io.terminal import counted
from utils.prompts.matching import MAX_BAD_SHARE, NO_IMAGE, Categories, ImageMatch
from utils.prompts.table import BoxFormat, CategoryOffset, Interpretation, PromptOverrides, PromptTable

MARGIN = 0.1
"""A box is far outside its image where it sticks out by more than this share of the image's side."""

SIZE_SAMPLES = 1000
"""The headers of so many images, evenly spread over those with rows, are read to compare boxes with their sizes."""

TINY_IMAGE = 4
"""In images with larger sides than this, in pixels, not all boxes lie within the first pixel."""

FEW_ROWS = 10
"""Fewer wrong rows than this may be mere mistakes in a file that has right ones, too: ids outside the classes, since
another interpretation would move all classes, and boxes where no other interpretation fits."""

BOX_OPTIONS, ID_OPTIONS = ("--bbox-format",), ("--category-offset", "--prompt-names")


class Conflict(NamedTuple):
    """A reason, for messages, why a file may not mean what its format means, and the options that decide it."""

    options: tuple[str, ...]
    reason: str


class FormatChecker:
    """Compare the data of a file with an interpretation.

    Args:
        table: the file.
        overrides: what the command line says about it, which nothing contradicts.
        categories: what its category ids may mean.
        match: the image of each row.
        images: those of the run.
    """

    def __init__(
        self,
        table: PromptTable,
        overrides: PromptOverrides,
        categories: Categories,
        match: ImageMatch,
        images: RunImages,
    ) -> None:
        self._table, self._overrides, self._categories = table, overrides, categories
        self._match, self._images = match, images
        # Rows whose image's size is known; where boxes can mean one thing only, no header is read.
        fixed = bool(table.format.fixed_boxes)
        self._sized, self._limits = _image_limits(match.of_row[:0] if fixed else match.of_row, images)

    def expected(self) -> Interpretation:
        """Return what the command line says and, where it says nothing, what the format means."""
        default, overrides = self._table.format.interpretation, self._overrides
        offset = overrides.category_offset or default.category_offset
        return Interpretation(overrides.bbox_format or default.bbox_format, offset)

    def possible(self) -> list[Interpretation]:
        """Return all interpretations that neither the format nor the command line rules out."""
        expected, prompt_format = self.expected(), self._table.format
        formats: Sequence[BoxFormat] = get_args(BoxFormat)
        offsets: Sequence[CategoryOffset] = self._coco_offsets() or get_args(CategoryOffset)
        if prompt_format.fixed_boxes or self._overrides.bbox_format:
            formats = [expected.bbox_format]
        if prompt_format.names_classes or self._overrides.category_offset:
            offsets = [expected.category_offset]
        return [Interpretation(*each) for each in product(formats, offsets)]

    def fits(self, interpretation: Interpretation) -> bool:
        """Tell whether almost all boxes and all category ids are as this interpretation has them."""
        bad = self.bad_boxes(interpretation)
        boxes_fit = self._overrides.bbox_format is not None or bad.sum() <= MAX_BAD_SHARE * len(bad)
        return boxes_fit and not self._misfits(interpretation).any()

    def outcome(self, interpretation: Interpretation) -> tuple[str, bytes]:
        """Return what is the same for interpretations that give every row the same box and class."""
        return interpretation.bbox_format, self._categories.class_ids(interpretation.category_offset).tobytes()

    def conflicts(self) -> list[Conflict]:
        """List what contradicts the expected interpretation."""
        expected, conflicts = self.expected(), list[Conflict]()
        bad, misfits = self.bad_boxes(expected), self._misfits(expected)
        if self._match.by_number:
            reason = "its image ids are not those of the run but names or numbers of files"
            conflicts.append(Conflict((*BOX_OPTIONS, *ID_OPTIONS), reason))
        if self._coco_offsets():
            reason = "Ultralytics numbers COCO's classes from 1 or as COCO does"
            conflicts.append(Conflict(ID_OPTIONS[:1], reason))
        if bad.sum() > MAX_BAD_SHARE * len(bad) and self._overrides.bbox_format is None:
            row = self._table.short_location(int(self._sized[np.argmax(bad)]))
            reason = f"{row}.bbox is inverted or far outside its image as {expected.bbox_format}"
            conflicts.append(Conflict(BOX_OPTIONS, f"{reason} ({bad.sum()} of {counted(len(bad), 'row')})"))
        # A few ids outside the classes do not move all others to another offset: they are refused, one by one.
        few = min(FEW_ROWS, max(2, len(misfits) / 2))
        if misfits.sum() > MAX_BAD_SHARE * len(misfits) and misfits.sum() >= few:
            conflicts.append(Conflict(ID_OPTIONS, self._categories.describe_first(misfits, expected.category_offset)))
        return conflicts

    def bad_boxes(self, interpretation: Interpretation) -> npt.NDArray[np.bool_]:
        """Tell which of the (S,) boxes in images of known sizes are inverted or far outside; NaN is neither."""
        boxes = to_corners(self._table.boxes[self._sized], interpretation.bbox_format)
        inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
        beyond = np.any((boxes < -MARGIN * self._limits) | (boxes > (1 + MARGIN) * self._limits), axis=1)
        return (inverted | beyond) & np.all(np.isfinite(boxes), axis=1)

    def warnings(self, interpretation: Interpretation) -> list[str]:
        """Say what the file may mean as well as this interpretation, and where an option makes most boxes wrong."""
        ids, path, given = self._table.category_ids, self._table.path, self._overrides.bbox_format
        lines, bad = [], self.bad_boxes(interpretation)
        if given and 2 * bad.sum() > len(bad):
            other: BoxFormat = "xywh" if given == "xyxy" else "xyxy"
            fits = len(bad) - int(self.bad_boxes(Interpretation(other, interpretation.category_offset)).sum())
            lines.append(
                f"{path}: --bbox-format {given} makes {bad.sum()} of {len(bad)} boxes inverted or far outside their "
                f"images; with {other}, {fits} fit: leave the option out or give --bbox-format {other}"
            )
        said = self._overrides.category_offset is not None or self._table.class_names is not None
        # Where few of the classes occur, it is no wonder that the first one does not.
        few = 2 * len(np.unique(ids)) < len(self._categories.listed("0"))
        if said or few or interpretation.category_offset != "0" or not len(ids) or self._categories.misfits("1").any():
            return lines
        return [*lines, f"{path}: no category id is 0, so they may count from 1: then give --category-offset 1, else 0"]

    def check_pixels(self) -> None:
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

    def _misfits(self, interpretation: Interpretation) -> npt.NDArray[np.bool_]:
        """Tell which of the (R,) category ids contradict an interpretation; none if the command line gave it."""
        if self._overrides.category_offset:
            return np.zeros(len(self._table), bool)
        return self._categories.misfits(interpretation.category_offset)

    def _coco_offsets(self) -> tuple[CategoryOffset, ...]:
        """Return the format's offsets for COCO's classes; none for others, or where the command line gives one."""
        offsets = self._table.format.coco_offsets
        if self._overrides.category_offset or not offsets:
            return ()
        return offsets if [*map(canonical, self._categories.listed("0"))] == [*COCO_CLASSES] else ()


def choose_interpretation(table: PromptTable, checker: FormatChecker) -> tuple[Interpretation, list[str]]:
    """Choose the expected interpretation unless the data contradict it, else the only other one that fits.

    Returns:
        the interpretation, and lines that say why it is not the expected one.

    Raises:
        UserError: the data contradict what is expected, and no other interpretation fits, or more than one, or none
            could.
    """
    checker.check_pixels()
    expected, conflicts = checker.expected(), checker.conflicts() if len(table) else []
    if not conflicts:
        return expected, []
    # Two that give the same boxes and classes leave nothing to decide; the first one of them is as good.
    by_outcome: dict[tuple[str, bytes], Interpretation] = {}
    for interpretation in filter(checker.fits, checker.possible()):
        by_outcome.setdefault(checker.outcome(interpretation), interpretation)
    fitting = [*by_outcome.values()]
    why = "; ".join(conflict.reason for conflict in conflicts)
    but = f"read as {table.format.title}, {table.format.meaning(expected)}; but {why}"
    if len(fitting) == 1:
        return fitting[0], [f"prompts: {but}", "prompts: only one interpretation fits"]
    # Some bad boxes in a file that fits nothing else are mistakes of whoever made it; the run drops them and counts.
    bad, only_boxes = checker.bad_boxes(expected), all(conflict.options == BOX_OPTIONS for conflict in conflicts)
    if not fitting and only_boxes and bad.sum() < min(FEW_ROWS, len(bad)):
        return expected, [f"prompts: {why}; no other interpretation fits better"]
    raise UserError(f"{table.path}: {but}; {_undecided(fitting, conflicts)}")


def _undecided(fitting: Sequence[Interpretation], conflicts: Sequence[Conflict]) -> str:
    """Say what decides a case in which not exactly one interpretation fits."""
    if not fitting:
        options = dict.fromkeys(option for conflict in conflicts for option in conflict.options)
        return f"no other interpretation fits; give {' or '.join(options)}"
    choices: dict[str, set[str]] = {
        BOX_OPTIONS[0]: {each.bbox_format for each in fitting},
        ID_OPTIONS[0]: {each.category_offset for each in fitting},
    }
    differ = [option for option, values in choices.items() if len(values) > 1]
    each = " or ".join(f"({interpretation.described()})" for interpretation in fitting)
    return f"more than one interpretation fits: {each}; give {' and '.join(differ)}"


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
