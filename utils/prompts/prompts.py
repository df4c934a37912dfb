"""The boxes of a prompt file, joined with the images and classes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.classes import match_classes
from utils.errors import UserError
from utils.prompts.interpretation import Evidence, corners, decide
from utils.prompts.matching import LACKING, NONE, Categories, ImageMatch, check_sizes, join
from utils.prompts.readers import read_folder, read_json_rows
from utils.prompts.table import SEED, PromptOverrides, Reading, Rows, RunImages


@dataclass(frozen=True)
class Prompts:
    """Boxes by image; those of an image stand together, in the file's order.

    Attributes:
        boxes: (J, 4) float64, x1 y1 x2 y2 in pixels or in shares of the image's sides: they may be NaN or outside.
        scores: (J,) float32 in [0, 1].
        class_ids: (J,) int64, 0-based index into the class names of the run.
        rows_of: image id -> the rows of its boxes.
        in_shares: whether boxes are shares of the image's sides.
        finding: lines that say how the file was read.
        warnings: lines that say what else it may mean.
        left_out: lines that say which rows were left out.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    rows_of: dict[str, slice]
    in_shares: bool
    finding: list[str]
    warnings: list[str]
    left_out: list[str]

    def for_image(self, image_id: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An image's boxes, (N, 4) float32 xyxy in pixels, their (N,) float32 scores and (N,) int64 class ids.

        Args:
            size: (height, width) of the image.
        """
        rows = self._rows(image_id)
        boxes = self.boxes[rows] * (size[::-1] * 2) if self.in_shares else self.boxes[rows]
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is dropped with the NaNs
            return boxes.astype(np.float32), self.scores[rows], self.class_ids[rows]

    def count(self, image_id: str) -> int:
        """How many boxes an image has."""
        return len(self.scores[self._rows(image_id)])

    def content(self, image_id: str) -> bytes:
        """What decides `of` for an image: the same bytes, the same boxes."""
        rows = self._rows(image_id)
        columns = (self.boxes[rows], self.scores[rows], self.class_ids[rows])
        return b"".join([bytes([self.in_shares]), *(column.tobytes() for column in columns)])

    def _rows(self, image_id: str) -> slice:
        return self.rows_of.get(image_id, slice(0, 0))


def load_prompts(
    path: Path, names: Sequence[str], images: RunImages, given: PromptOverrides, wanted: Sequence[str] | None = None
) -> Prompts:
    """The prompts of a file or folder for the images of a run.

    Args:
        path: a file or folder of any form.
        names: class names of the run.
        images: those of the run.
        given: what the command line says of the file.
        wanted: names of the only classes whose boxes count, or None for all.

    Raises:
        UserError: it cannot be read, its form stays open, it does not fit the classes or the sizes of images, or no row
            joins an image; or the run has no class that is wanted.
    """
    rows = read_folder(path, names_given=given.class_names is not None) if path.is_dir() else read_json_rows(path)
    _check_given(rows, given)
    joined, categories = join(rows, images.ids), Categories(rows, given, names)
    check_sizes(rows, joined, images)
    evidence = Evidence(rows, given, categories, joined, images)
    reading, lines = decide(rows, evidence)
    class_ids = categories.check(reading.category_offset)
    image_of_row = joined.of_key[rows.key_of_row]
    here = image_of_row != NONE
    lacking = here & (class_ids == LACKING)
    unwanted = here & ~lacking & ~np.isin(class_ids, _wanted_ids(wanted, names))
    left_out = {**rows.left_out, "for images outside the run": int((~here).sum())}
    for what, lost in {"the run lacks": lacking, "are none of detector.classes": unwanted}.items():
        if lost.any():
            left_out[f"of classes that {what} ({categories.counts(lost, reading.category_offset)})"] = int(lost.sum())
    kept = np.flatnonzero(here & ~lacking & ~unwanted)
    kept = kept[np.argsort(image_of_row[kept], kind="stable")]
    return Prompts(
        corners(rows.boxes[kept], reading.bbox_format),
        rows.scores[kept],
        class_ids[kept],
        _slices(image_of_row[kept], images.ids),
        rows.form.in_shares,
        [*lines, *_finding(rows, reading, joined, images)],
        evidence.warnings(reading),
        [f"prompts: rows {which}, left out: {count}" for which, count in left_out.items() if count],
    )


def _check_given(rows: Rows, given: PromptOverrides) -> None:
    """Raises UserError where the command line says of the file what its form leaves no room for."""
    title = f"{rows.path} holds {rows.form.title}, "
    if rows.form.fixed_boxes and given.bbox_format:
        raise UserError(f"--bbox-format: {title}whose boxes can mean one thing only")
    for option, value in (("--category-offset", given.category_offset), ("--prompt-names", given.class_names)):
        if rows.form.fixed_classes and value:
            raise UserError(f"{option}: {title}which name their classes themselves")


def _wanted_ids(wanted: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    """The ids of the classes that are wanted; names that only a detector knows may be among them.

    Raises:
        UserError: the run has none of them.
    """
    ids = [*range(len(names))] if wanted is None else [*match_classes(wanted, names).values()]
    if not ids:
        raise UserError(
            f"detector.classes: the run has no class {' or '.join(wanted or ())}; it has {', '.join(names)}"
        )
    return ids


def _slices(image_of_row: np.ndarray, ids: Sequence[str]) -> dict[str, slice]:
    """Image id -> its rows, from the (J,) positions of the rows' images in ascending order."""
    positions, starts = np.unique(image_of_row, return_index=True)
    stops = [*starts[1:].tolist(), len(image_of_row)]
    return {ids[position]: slice(*ends) for position, *ends in zip(positions.tolist(), starts.tolist(), stops)}


def _finding(rows: Rows, reading: Reading, joined: ImageMatch, images: RunImages) -> list[str]:
    """How the file was read, and how much of it is for the run."""
    form = rows.form
    title = "rows without file_name" if form is SEED and reading != SEED.reading else form.title
    row_share = _share(int((joined.of_key[rows.key_of_row] != NONE).sum()), len(rows), "rows")
    image_share = _share(int((joined.of_key != NONE).sum()), len(rows.keys), "images")
    named = [] if rows.names_file is None else [f"prompts: category ids index the classes of {rows.names_file}"]
    return [
        f"prompts: {rows.path}: {title}: {form.means(reading)}",
        f"prompts: of the file, {row_share} and {image_share} are in the run, which has {len(images.ids)} images",
        *named,
    ]


def _share(part: int, whole: int, what: str) -> str:
    percent = f" ({100 * part / whole:.1f} %)" if whole else ""
    return f"{part} of {whole} {what}{percent}"
