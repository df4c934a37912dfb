"""The boxes of a prompt file, matched with the images and classes of a run."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.boxes import ScoredBoxes, Size, denormalize
from utils.classes import match_classes
from utils.engine import RunImages
from utils.errors import UserError, first_of
from utils.formats.categories import NO_CLASS, UNKNOWN_ID, Categories, CategoryOffset
from utils.io.terminal import counted
from utils.matching import place_below, several_folders
from utils.prompts.interpretation import FormatChecker, describe_first, to_corners
from utils.prompts.matching import NO_IMAGE, ImageMatch, check_sizes, match_images
from utils.prompts.readers import read_prompt_table
from utils.prompts.table import Interpretation, PromptOverrides, PromptSource, PromptTable

MOST_LISTED = 20
"""So many classes are listed of a file of YOLO labels."""

MANY_SCORES = 20
"""Of so many boxes that a detector found, some score just above its threshold."""


@dataclass(frozen=True)
class Prompts:
    """Hold the boxes of a prompt file, sorted by image; those of one image keep the file's order.

    Attributes:
        boxes: (J, 4) float64, x1 y1 x2 y2 in pixels or in shares of the image's sides. They may be NaN or lie outside
            their image: `BoxSanitizer` of `models/detector.py` clips or drops these and counts them.
        scores: (J,) float32 in [0, 1].
        class_ids: (J,) int64, 0-based index into the class names of the run.
        rows_of: image id -> the rows of its boxes.
        normalized: whether boxes are shares of the image's sides.
        finding: lines that say how the file was read.
        warnings: lines that say what else it may mean.
        left_out: lines that say which rows were left out.
        class_names: those that the file has for its classes; none where ids index the run's.
    """

    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    rows_of: dict[str, slice]
    normalized: bool
    finding: list[str]
    warnings: list[str]
    left_out: list[str]
    class_names: tuple[str, ...] = ()

    def for_image(self, image_id: str, size: Size) -> ScoredBoxes:
        """Return the boxes of an image, in pixels; none if the file has none.

        Args:
            size: (height, width) of the image.
        """
        rows = self._rows(image_id)
        boxes = denormalize(self.boxes[rows], size) if self.normalized else self.boxes[rows]
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is dropped with the NaNs
            return boxes.astype(np.float32), self.scores[rows], self.class_ids[rows]

    def score_warnings(self, conf: npt.NDArray[np.float32]) -> list[str]:
        """Say it where the (C,) `conf` of classes leaves out most boxes of the run, or is far below all scores."""
        low, count = int((self.scores <= conf[self.class_ids]).sum()), len(self.scores)
        lowest, highest = self.scores.min(initial=1), self.scores.max(initial=0)
        limits = " to ".join(f"{each:g}" for each in dict.fromkeys([conf.min(), conf.max()]))
        lost = f"-conf {limits} (dataset.conf) leaves out {low} of {counted(count, 'row')}, which score no higher"
        if count >= MANY_SCORES and 2 * conf.max() < lowest < highest:
            fact = f"no row scores below {lowest:.3g}, so -conf {limits} (dataset.conf) leaves out none"
            return [f"{fact}; a file that was made with a higher one lacks boxes"]
        return [f"{lost}; a lower one keeps more"] if 2 * low > count else []

    def count(self, image_id: str) -> int:
        """Return how many boxes an image has."""
        return len(self.scores[self._rows(image_id)])

    def content(self, image_id: str) -> bytes:
        """Return the bytes of all that `for_image` depends on, to be hashed."""
        rows = self._rows(image_id)
        columns = (self.boxes[rows], self.scores[rows], self.class_ids[rows])
        return b"".join([bytes([self.normalized]), *(column.tobytes() for column in columns)])

    def _rows(self, image_id: str) -> slice:
        return self.rows_of.get(image_id, slice(0, 0))


def load_prompts(
    path: Path,
    names: Sequence[str],
    images: RunImages,
    overrides: PromptOverrides,
    kept_classes: Sequence[str] | None = None,
) -> Prompts:
    """Read the prompts of a file or folder for the images of a run.

    Args:
        path: a file or folder of any format in `PROMPT_FORMATS`.
        names: class names of the run.
        images: those of the run.
        overrides: what the command line says about the file.
        kept_classes: names of the only classes whose boxes count, or None for all.

    Raises:
        UserError: it cannot be read, what it means cannot be decided, it does not fit the classes or the sizes of
            images, or no row matches an image; or the run has none of the classes to be kept.
    """
    table = read_prompt_table(PromptSource(path, overrides))
    _check_overrides(table)
    place = place_below(path, images.ids, images.paths)
    match = match_images(table, images.ids, images.paths, place)
    check_sizes(table, match, images)
    categories = Categories(table.category_ids, names, table.class_names or overrides.class_names)
    checker = FormatChecker(table, categories, match, images)
    interpretation, lines = checker.choose()
    offset = interpretation.category_offset
    class_ids, in_run = _class_ids(table, categories, offset), match.of_row != NO_IMAGE
    no_class = in_run & (class_ids == NO_CLASS)
    other_class = in_run & ~no_class & ~np.isin(class_ids, _kept_ids(kept_classes, names))
    left_out = {**table.left_out, "for images outside the run": int((~in_run).sum())}
    for reason, rows in {"the run lacks": no_class, "are none of detector.classes": other_class}.items():
        counts = Counter(categories.listed(offset)[i] for i in categories.positions(offset)[rows].tolist())
        which = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        left_out[f"of classes that {reason} ({which})"] = int(rows.sum())
    kept = np.flatnonzero(in_run & ~no_class & ~other_class)
    kept = kept[np.argsort(match.of_row[kept], kind="stable")]
    return Prompts(
        boxes=to_corners(table.boxes[kept], interpretation.bbox_format),
        scores=table.scores[kept],
        class_ids=class_ids[kept],
        rows_of=_rows_by_image(match.of_row[kept], images.ids),
        normalized=table.format.normalized,
        finding=[*lines, *_finding(table, interpretation, match, images), *_mapping(table, categories, offset)],
        warnings=[
            *checker.warnings(interpretation),
            *_unlabelled_folders(table, match, images.ids),
            *_several_folders(table, match, images.ids),
            *_repeats(table, np.column_stack([match.of_row, class_ids, table.scores, table.boxes])[kept]),
            *_losses(table, offset, int(in_run.sum()), int(no_class.sum()), int(other_class.sum())),
        ],
        left_out=[f"prompts: rows {which}, left out: {count}" for which, count in left_out.items() if count],
        class_names=table.class_names or overrides.class_names or (),
    )


def _repeats(table: PromptTable, rows: npt.NDArray[np.float64]) -> list[str]:
    """Say how many of the (J, K) rows of the run are the same as others, as where a file was written twice over."""
    count = len(rows) - len(np.unique(rows, axis=0))
    fact = f"{table.path}: {count} of {counted(len(rows), 'row')} repeat others with all their values"
    return [f"{fact}; each counts as an object of its own"] if count else []


def _check_overrides(table: PromptTable) -> None:
    """Raise UserError where the command line says about the file what its format leaves no room for."""
    overrides = table.overrides
    holds = f"{table.path} holds {table.format.title}, "
    if overrides.label_columns and not table.format.normalized:
        raise UserError(f"--label-columns: {holds}which are no YOLO labels")
    if table.format.fixed_boxes and overrides.bbox_format:
        raise UserError(f"--bbox-format: {holds}whose boxes can mean one thing only")
    for option, value in (("--category-offset", overrides.category_offset), ("--prompt-names", overrides.class_names)):
        if table.format.names_classes and value:
            raise UserError(f"{option}: {holds}which name their classes themselves")


def _class_ids(table: PromptTable, categories: Categories, offset: CategoryOffset) -> npt.NDArray[np.int64]:
    """Return the (R,) class ids of the run, or NO_CLASS; UserError if an id is unknown or no class is shared."""
    class_ids = categories.class_ids(offset)
    if (unknown := class_ids == UNKNOWN_ID).any():
        first = describe_first(table, categories, unknown, offset)
        raise UserError(f"{table.path}: {first}; give --category-offset or --prompt-names")
    if len(class_ids) and not categories.of_run(offset):
        remedy = f"; --set dataset.classes={table.names_file} takes its classes" if table.names_file else ""
        both = f"it has {first_of(categories.listed(offset))}; the run has {first_of(categories.names)}{remedy}"
        raise UserError(f"{table.path}: it shares no class with the run: {both}")
    return class_ids


def _kept_ids(kept: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    """Return the ids of the classes to be kept, of which a detector may know more; UserError if the run has none."""
    ids = [*range(len(names))] if kept is None else [*match_classes(kept, names).values()]
    if not ids:
        raise UserError(f"detector.classes: the run has no class {' or '.join(kept or ())}; it has {', '.join(names)}")
    return ids


def _rows_by_image(image_of_row: npt.NDArray[np.int64], ids: Sequence[str]) -> dict[str, slice]:
    """Map image ids to their rows, from the (J,) positions of the rows' images in ascending order."""
    positions, starts = np.unique(image_of_row, return_index=True)
    stops = [*starts[1:].tolist(), len(image_of_row)]
    return {ids[position]: slice(*ends) for position, *ends in zip(positions.tolist(), starts.tolist(), stops)}


def _finding(table: PromptTable, interpretation: Interpretation, match: ImageMatch, images: RunImages) -> list[str]:
    """Say how the file was read, and how much of it is for the run."""
    expected = interpretation == table.format.interpretation
    title = table.format.title if expected else table.format.other_title or table.format.title
    rows = _share(int((match.of_row != NO_IMAGE).sum()), len(table), "row")
    of_images = _share(int((match.of_key != NO_IMAGE).sum()), len(table.image_keys), "image")
    variant = f", {table.variant}" if table.variant else ""
    return [
        f"prompts: {table.path}: {title}: {table.format.meaning(interpretation)}{variant}",
        f"prompts: of the file, {rows} and {of_images} are in the run, which has {counted(len(images.ids), 'image')}",
    ]


def _mapping(table: PromptTable, categories: Categories, offset: CategoryOffset) -> list[str]:
    """Say what the class ids of YOLO labels mean, which nothing in their rows confirms: of all, or of those it has."""
    if not table.format.normalized or not len(table):
        return []
    source = table.names_file or ("--prompt-names" if table.overrides.class_names else "dataset.classes")
    listed, of_run, texts = categories.listed(offset), categories.of_run(offset), []
    pairs = [*zip(np.unique(categories.ids).tolist(), np.unique(categories.positions(offset)).tolist())]
    if len(listed) <= MOST_LISTED and offset != "coco91":
        pairs = [(i + int(offset), i) for i in range(len(listed))]
    for category_id, i in pairs[:MOST_LISTED]:
        meant = categories.names[of_run[i]] if i in of_run else "no class of the run"
        texts.append(f"{category_id} {listed[i]}" + ("" if meant == listed[i] else f" -> {meant}"))
    more = [f"and {len(pairs) - MOST_LISTED} more"] if len(pairs) > MOST_LISTED else []
    return [f"prompts: classes by {source}: {', '.join([*texts, *more])}"]


def _unlabelled_folders(table: PromptTable, match: ImageMatch, ids: Sequence[str]) -> list[str]:
    """Say which folders of images, such as a split of a YOLO dataset, have no label file at all."""
    if not table.format.normalized:
        return []
    sizes = Counter(image_id.rpartition("/")[0] for image_id in ids)
    labelled = {ids[position].rpartition("/")[0] for position in match.of_key[match.of_key != NO_IMAGE].tolist()}
    return [
        f"{table.path}: no label file for the images in {folder or '.'}/ ({counted(count, 'image')}), which count as "
        "images without objects"
        for folder, count in sizes.items()
        if folder not in labelled
    ]


def _several_folders(table: PromptTable, match: ImageMatch, ids: Sequence[str]) -> list[str]:
    """Say it where images of the run are matched with files, or paths in a file, of several folders."""
    matched = np.flatnonzero(match.of_key != NO_IMAGE).tolist()
    folders = several_folders((str(table.image_keys[k]), ids[match.of_key[k]]) for k in matched)
    return [f"{table.path}: holds the images of the run in several folders: {folders}"] if folders else []


def _losses(table: PromptTable, offset: CategoryOffset, count: int, lacking: int, unwanted: int) -> list[str]:
    """Say which option leaves out more than half of the rows that are for images of the run; UserError if it is all.

    Args:
        count: how many rows are for images of the run.
        lacking: those of classes that the run lacks.
        unwanted: those of classes that are left out by detector.classes.
    """
    lines = []
    if 2 * lacking > count:
        if table.overrides.class_names is not None:
            remedy = "--prompt-names names other classes than the run has; set dataset.classes to the same file"
        elif table.class_names is None:
            remedy = f"--category-offset {offset} says so"
        elif table.names_file is not None:
            remedy = f"--set {shlex.quote(f'dataset.classes={table.names_file}')} makes its classes those of the run"
        else:
            remedy = f"--set 'dataset.classes={json.dumps(table.class_names)}' makes its classes those of the run"
        what = f"{lacking} of {counted(count, 'row is', 'rows are')} of classes that the run lacks"
        if lacking == count:  # what is left would look like a file without boxes
            raise UserError(f"{table.path}: {what}; {remedy}")
        lines.append(f"{table.path}: {what} and are left out; {remedy}")
    if 2 * unwanted > count:
        what = "are left out by detector.classes, which lists the only classes that count"
        lines.append(f"{table.path}: {unwanted} of {counted(count, 'row')} {what}")
    return lines


def _share(part: int, whole: int, what: str) -> str:
    percent = f" ({100 * part / whole:.1f} %)" if whole else ""
    return f"{part} of {counted(whole, what)}{percent}"
