"""What the numbers of a prompt file mean: what its form says, unless the data contradict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from utils.errors import UserError
from utils.formats.yolo import HIGHEST, LOWEST
from utils.prompts.matching import NONE, TENTH, Categories, ImageMatch
from utils.prompts.table import ULTRALYTICS, BoxFormat, CategoryOffset, PromptOverrides, Reading, Rows, RunImages

MARGIN = 0.1
"""A box is far outside its image where it sticks out by more than this share of the image's side."""

SIZED = 1000
"""The headers of so many images, evenly spread over those with rows, are read to compare boxes with their sizes."""

SPECK = 4
"""In images with larger sides than this, in pixels, not all boxes lie within the first pixel."""

HANDFUL = 10
"""Fewer wrong rows than this may be mere mistakes in a file that has right ones, too: ids outside the classes, since
another reading would move all classes, and boxes where no other reading fits."""


@dataclass(frozen=True)
class Doubt:
    """Why what a form means may not be what its file means.

    Attributes:
        options: those that settle it.
        reason: for messages.
    """

    options: tuple[str, ...]
    reason: str


BOXES, IDS = ("--bbox-format",), ("--category-offset", "--prompt-names")


class Evidence:
    """What the data of a file say for and against a reading.

    Args:
        rows: the file.
        given: what the command line says; against this, nothing speaks.
        categories: what its category ids may mean.
        joined: the image of each row.
        images: those of the run.
    """

    def __init__(
        self, rows: Rows, given: PromptOverrides, categories: Categories, joined: ImageMatch, images: RunImages
    ) -> None:
        self._rows, self._given, self._categories, self._joined = rows, given, categories, joined
        known = given.bbox_format is not None or rows.form.fixed_boxes
        self._images, self._image_of_row = images, joined.of_key[rows.key_of_row]
        self._sized, self._limits = _nowhere() if known else _limits(self._image_of_row, images)

    def expected(self) -> Reading:
        """What the form means where the command line does not say it."""
        form = self._rows.form.reading
        offset = self._given.category_offset or form.category_offset
        return Reading(self._given.bbox_format or form.bbox_format, offset)

    def possible(self) -> list[Reading]:
        """All readings that neither the form nor the command line rules out."""
        form, expected = self._rows.form, self.expected()
        formats: Sequence[BoxFormat] = get_args(BoxFormat)
        offsets: Sequence[CategoryOffset] = (
            ("1", "coco91") if self._numbered_in_two_ways() else get_args(CategoryOffset)
        )
        if form.fixed_boxes or self._given.bbox_format:
            formats = [expected.bbox_format]
        if form.fixed_classes or self._given.category_offset:
            offsets = [expected.category_offset]
        return [Reading(*each) for each in product(formats, offsets)]

    def fits(self, reading: Reading) -> bool:
        """Whether almost all boxes and all category ids are as this reading has them."""
        bad = self.bad_boxes(reading)
        return bad.sum() <= TENTH * len(bad) and not self._outside(reading).any()

    def same(self, one: Reading, other: Reading) -> bool:
        """Whether two readings give every row the same box and class."""
        first, second = (self._categories.class_ids(reading.category_offset) for reading in (one, other))
        return one.bbox_format == other.bbox_format and np.array_equal(first, second)

    def doubts(self) -> list[Doubt]:
        """What speaks against what is expected."""
        expected, doubts, either = self.expected(), list[Doubt](), (*BOXES, *IDS)
        bad, outside = self.bad_boxes(expected), self._outside(expected)
        if self._joined.by_number:
            doubts.append(Doubt(either, "its image ids are not those of the run but names or numbers of files"))
        if self._numbered_in_two_ways():
            doubts.append(Doubt(IDS[:1], "Ultralytics numbers COCO's classes from 1 or as COCO does"))
        if _contradict(bad):
            row = int(self._sized[np.argmax(bad)])
            where = f"is inverted or far outside its image as {expected.bbox_format}"
            doubts.append(Doubt(BOXES, f"{self._rows.spot_of(row)}.bbox {where} ({bad.sum()} of {len(bad)} rows)"))
        few = min(HANDFUL, max(2, len(outside) / 2))
        if _contradict(outside) and outside.sum() >= few:  # fewer are refused, one by one
            doubts.append(Doubt(IDS, self._categories.first(outside, expected.category_offset)))
        return doubts

    def bad_boxes(self, reading: Reading) -> np.ndarray:
        """(S,) bool, which of the boxes whose image's size is known are inverted or far outside; NaN is neither."""
        boxes = corners(self._rows.boxes[self._sized], reading.bbox_format)
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        beyond = ((boxes < -MARGIN * self._limits) | (boxes > (1 + MARGIN) * self._limits)).any(axis=1)
        return (inverted | beyond) & np.isfinite(boxes).all(axis=1)

    def warnings(self, reading: Reading) -> list[str]:
        """What the file may mean as well as this reading."""
        ids = self._rows.category_ids
        said = self._given.category_offset is not None or self._rows.class_names is not None
        if said or reading.category_offset != "0" or not len(ids) or self._categories.misfits("1").any():
            return []
        return [
            f"{self._rows.path}: no category id is 0, so they may count from 1: then give --category-offset 1, else 0"
        ]

    def check_pixels(self) -> None:
        """Raises UserError where boxes are shares of their images' sides, but the form, however read, has pixels."""
        boxes = self._rows.boxes
        boxes = boxes[np.isfinite(boxes).all(axis=1) & boxes.any(axis=1)]
        shares = ((boxes >= LOWEST) & (boxes <= HIGHEST)).all(axis=1)
        if self._rows.form.in_shares or shares.sum() <= (1 - TENTH) * len(boxes):
            return
        _, limits = _limits(self._image_of_row, self._images)
        if (limits > SPECK).any():
            raise UserError(
                f"{self._rows.path}: {shares.sum()} of {len(self._rows)} boxes lie within 0 and 1, so they are shares "
                f"of their images' sides; {self._rows.form.title} must have pixels"
            )

    def _outside(self, reading: Reading) -> np.ndarray:
        if self._given.category_offset:
            return np.zeros(len(self._rows), bool)
        return self._categories.misfits(reading.category_offset)

    def _numbered_in_two_ways(self) -> bool:
        unsaid = self._given.category_offset is None
        return self._rows.form is ULTRALYTICS and unsaid and self._categories.are_cocos()


def decide(rows: Rows, evidence: Evidence) -> tuple[Reading, list[str]]:
    """The reading of a file: the expected one unless the data contradict it, else the only other one that fits.

    Returns:
        the reading, and lines that say why it is not the expected one.

    Raises:
        UserError: the data contradict what is expected, and no other reading fits, or more than one, or none could.
    """
    evidence.check_pixels()
    expected, doubts = evidence.expected(), evidence.doubts() if len(rows) else []
    if not doubts:
        return expected, []
    fitting = list[Reading]()
    for reading in filter(evidence.fits, evidence.possible()):
        if not any(evidence.same(reading, other) for other in fitting):
            fitting.append(reading)
    why = "; ".join(doubt.reason for doubt in doubts)
    but = f"in {rows.form.title}, {rows.form.means(expected)}; but {why}"
    if len(fitting) == 1:
        return fitting[0], [f"prompts: {but}", "prompts: only one reading fits"]
    bad = evidence.bad_boxes(expected)
    if not fitting and all(doubt.options == BOXES for doubt in doubts) and bad.sum() < min(HANDFUL, len(bad)):
        return expected, [f"prompts: {why}; no other reading fits better"]
    raise UserError(f"{rows.path}: {but}; {_unsettled(fitting, doubts)}")


def _contradict(wrong: np.ndarray) -> bool:
    """Whether the wrong ones of all rows, a bool array, are more than a tenth."""
    return bool(wrong.sum() > TENTH * len(wrong))


def corners(boxes: np.ndarray, bbox_format: BoxFormat) -> np.ndarray:
    """(N, 4) boxes of a format as x1 y1 x2 y2."""
    return boxes if bbox_format == "xyxy" else np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def _unsettled(fitting: list[Reading], doubts: list[Doubt]) -> str:
    """What settles a case in which not exactly one reading fits."""
    if not fitting:
        options = dict.fromkeys(option for doubt in doubts for option in doubt.options)
        return f"no other reading fits; what settles it: {', '.join(options)}"
    formats, offsets = ({getattr(reading, name) for reading in fitting} for name in ("bbox_format", "category_offset"))
    differ = [option for option, values in ((BOXES[0], formats), (IDS[0], offsets)) if len(values) > 1]
    readings = " or ".join(f"({reading})" for reading in fitting)
    return f"more than one reading fits: {readings}; what settles it: {', '.join(differ)}"


def _nowhere() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros((0, 4))


def _limits(image_of_row: np.ndarray, images: RunImages) -> tuple[np.ndarray, np.ndarray]:
    """(S,) int64 rows whose image's size is read, and (S, 4) float64 width, height, width, height of these images."""
    positions = np.unique(image_of_row[image_of_row != NONE])
    if len(positions) > SIZED:
        positions = positions[np.linspace(0, len(positions) - 1, SIZED).astype(np.int64)]
    sizes = zip(positions.tolist(), images.sizes(positions.tolist()))
    known = {position: size for position, size in sizes if size is not None}
    rows = np.flatnonzero(np.isin(image_of_row, list(known)))
    table = np.array(list(known.values()), np.float64).reshape(-1, 2)
    heights, widths = table[np.searchsorted(list(known), image_of_row[rows])].T if len(rows) else np.zeros((2, 0))
    return rows, np.stack([widths, heights, widths, heights], axis=1)
