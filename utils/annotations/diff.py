"""Compare the objects found with labelme annotations that exist: `diff.csv`, the most different image first.

Objects of one label are paired, those that overlap most (IoU) first. What has no partner is extra (found only) or
missing (annotated only); a pair that overlaps little is listed, too.

Where a person corrected the objects found, the same pairs say what became of them: an object was accepted, redrawn,
relabelled or deleted, and others were added.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.fingerprint import hash_of
from utils.annotations.labelme_manifest import SETTINGS, parse_if_unmodified
from utils.annotations.review import sample_objects
from utils.classes import ClassIndex, match_classes
from utils.config import Config
from utils.errors import SampleError, UserError
from utils.files import open_regular
from utils.formats.base import Exported, Exporter
from utils.formats.labelme_reader import (
    LabelmeFiles,
    check_size,
    labelme_instances,
    read_labelme_json,
    shapes_of,
    size_of,
)
from utils.formats.labelme_writer import VERSION
from utils.formats.polygons import polygons_to_correct, rasterize_labelme
from utils.formats.registry import FORMATS, format_folder, predictions_of
from utils.io.encoding import encode_table
from utils.io.terminal import counted
from utils.io.writers import safe_path
from utils.masks import Mask, mask_iou
from utils.matching import match_best_first
from utils.structures import Instances, Sample

MIN_PAIR_IOU = 0.1
"""Objects that overlap less are no pair."""

ACCEPTED = 0.9
"""A pair of this IoU or more was not redrawn."""

RELABELLED = 0.5
"""What is left over of two labels, with this IoU or more, is one object that got another label."""

CONFIDENCE = 0.95
"""Of the limit of wrong objects, from a random sample of them that a person has checked."""

CHANGES = ("accepted", "redrawn", "relabelled", "added", "deleted")

DIGITS = 4

COUNTS = ("extra", "missing", "low_overlap")

COLUMNS = ("image_id", *COUNTS, "pairs", "mean_iou", "differences")

Labelled = tuple[str, Mask]


@dataclass(frozen=True)
class References:
    """Find the annotations to compare with, `<folder>/<image_id>.json`.

    Attributes:
        folder: where they are.
        own: it is the folder that the run itself writes to; there only what a person edited or saved is compared with.
        class_map: `dataset.class_map`; it applies to names that are keys of it, but not in the run's own folder.
        tolerance: that of the polygons that a run writes, `auto_mask.polygon_tolerance`.
        polygons: it is the folder of these polygons.
        before: what the run has was corrected, and the folder holds what it was before.
    """

    folder: Path
    own: bool = False
    class_map: Mapping[str, str | None] = field(default_factory=dict)
    tolerance: float = 1.0
    polygons: bool = False
    before: bool = False

    def settings(self, low: float, audit: int) -> dict[str, Any]:
        """Return what decides a row besides the files; rows of earlier versions stay what they were where they can."""
        # The sample needs the number of objects of every image, which records of earlier versions do not have.
        counts = {"audit": True} if audit else {}
        direction = {"before": True} if self.before else {}
        return {"low": low, **counts, **direction, **({"polygons": self.tolerance} if self.polygons else {})}

    def path(self, image_id: str) -> Path:
        """Return the annotation file of an image, there or not."""
        return safe_path(self.folder, image_id, ".json")

    def content_hash(self, image_id: str) -> str | None:
        """Hash an image's file; None if there is none to compare with."""
        try:
            with open_regular(self.path(image_id)) as file:
                content = file.read()
        except OSError:
            return None
        annotation = parse_if_unmodified(content) if self.own else None
        # labelme writes its own version, also where nothing was changed: somebody looked at the image.
        return None if annotation and annotation.get("version") == VERSION else hash_of(content)


def find_references(
    folder: Path, config: Config, image_ids: Sequence[str], *, overwrite: bool, before: bool
) -> References:
    """Find the annotations to compare with; `before` is that of `References`.

    Raises:
        UserError: there are none, or the run would replace them.
    """
    save_dir, formats = config.auto_mask.save_dir, config.auto_mask.formats
    written = [save_dir, *(format_folder(save_dir, name) for name in formats if FORMATS[name].is_labelme)]
    own = os.path.realpath(folder) in map(os.path.realpath, written)
    if own and overwrite:
        raise UserError(f"--diff {folder}: --overwrite would replace the annotations there that it compares with")
    polygons = own and os.path.realpath(folder) != os.path.realpath(save_dir)
    tolerance = config.auto_mask.polygon_tolerance
    references = References(folder, own, config.dataset.class_map or {}, tolerance, polygons, before)
    if not any(os.path.isfile(references.path(image_id)) for image_id in image_ids):
        if not os.path.exists(folder):
            raise UserError(f"--diff {folder}: No such file or directory")
        first = references.path(image_ids[0])
        if (kind := predictions_of(folder)) is not LabelmeFiles:
            advice = f"-a {shlex.quote(str(folder))} --format labelme -o DIR makes labelme files of them"
            raise UserError(f"--diff {folder}: holds {kind.title}, and takes labelme files; {advice}")
        raise UserError(f"--diff {folder}: no annotation of an image of the run; the first one's would be {first}")
    return references


class DiffExporter(Exporter):
    """Make the table `diff.csv`, of the images that have an annotation to compare with.

    Args:
        names: class names, indexed by class id.
        references: the annotations to compare with.
        low: pairs that overlap less are listed.
        audit: objects of the random sample by which the share of wrong ones is told; 0: none is told.
    """

    def __init__(self, names: Sequence[str], references: References, low: float, audit: int = 0) -> None:
        self._names, self._references, self._low, self._audit = names, references, low, audit
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the image's row, empty where there is nothing to compare with; no file.

        Raises:
            SampleError: the annotation is none that labelme would load.
        """
        if self._references.content_hash(sample.image_id) is None:
            return Exported({}, record={"objects": len(instances)})
        path = self._references.path(sample.image_id)
        try:
            corrected, are_ours = self._read(path, sample.size)
        except UserError as error:
            raise SampleError(sample.image_id, path, str(error).removeprefix(f"{path}: ")) from error
        found = [(self._names[i], mask) for i, mask in _labelled(instances)]
        if are_ours:
            found = as_polygons(found, corrected, self._references.tolerance)
        row = compare(found, corrected, self._low)
        made = changes(corrected, found) if self._references.before else changes(found, corrected)
        return Exported({}, record={"objects": len(found), "changes": made, **row})

    def _read(self, path: Path, size: tuple[int, int]) -> tuple[list[Labelled], bool]:
        """Read an annotation: objects under the names of the run, and others under their own.

        Returns:
            the objects, and whether a run wrote them as polygons.
        """
        content = read_labelme_json(path)
        check_size(size_of(content, path, size), size, path)  # before shapes are drawn in that size
        shapes = shapes_of(content, path)
        labels = list(dict.fromkeys(shape.label for shape in shapes))
        annotated = labelme_instances(path, ClassIndex(labels), known_size=size)
        names = self._names_of(labels)
        objects = [(name, mask) for i, mask in _labelled(annotated) if (name := names[i]) is not None]
        return objects, SETTINGS in content and all(shape.mask is None for shape in shapes)

    def _names_of(self, labels: Sequence[str]) -> list[str | None]:
        """Return what labels are called in the run: None for dropped classes, itself for one that is no class."""
        renamed = {} if self._references.own else self._references.class_map
        keys = [*renamed]
        before = match_classes(labels, keys)
        meant = [renamed[keys[before[i]]] if i in before else label for i, label in enumerate(labels)]
        known = match_classes([name or "" for name in meant], self._names)
        return [self._names[known[i]] if i in known else name for i, name in enumerate(meant)]

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record is a row of the table, or empty."""
        made, row = record.get("changes", []), {key: value for key, value in record.items() if key != "changes"}
        pairs = isinstance(made, list) and all(isinstance(each, (list, tuple)) and len(each) == 2 for each in made)
        sound = pairs and all(each[0] in CHANGES and isinstance(each[1], str) for each in made)
        counts = {*row} <= {"objects"} or all(type(row.get(count)) is int for count in COUNTS)
        return sound and counts and all(isinstance(value, (str, int, float)) for value in row.values())

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """Make `diff.csv`."""
        entries = list(records)
        rows = [{"image_id": image_id, **row} for image_id, row in entries if "pairs" in row]
        rows.sort(key=lambda row: -sum(row[count] for count in COUNTS))
        without = len(entries) - len(rows)
        sums = ", ".join(f"{sum(row[count] for row in rows)} {count.replace('_', ' ')}" for count in COUNTS)
        differing = counted(sum(bool(row.get("differences")) for row in rows), "image")
        which = "that a person edited or saved" if self._references.own else "to compare with"
        folder, before = str(self._references.folder), self._references.before
        sides = (folder, "this run") if before else ("this run", folder)
        lacking = f"{counted(without, 'image has', 'images have')} no annotation there {which}"
        self._summary = [
            f"{counted(len(rows), 'image')} compared with {folder}: objects {sums}, in {differing}",
            *([lacking] if without else []),
            *change_lines(rows, *sides),
            *(self._audit_lines(entries) if self._audit else []),
        ]
        return {"diff.csv": encode_table(COLUMNS, rows)}

    def _audit_lines(self, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Say how many objects are wrong at most, from those of the sample whose image a person has checked."""
        records = dict(entries)
        drawn = sample_objects({image_id: row.get("objects", 0) for image_id, row in entries}, self._audit)
        size = sum(map(len, drawn.values()))
        seen = [records[image_id]["changes"][i] for image_id, each in drawn.items() if "changes" in records[image_id]
                for i in each]  # fmt: skip
        wrong = sum(change != "accepted" for change, _ in seen)
        checked = f"audit: of {size} objects drawn at random, {len(seen)} are in checked images, {wrong} of them wrong"
        if not seen:
            return [checked]
        return [checked, f"audit: at most {100 * upper_limit(wrong, len(seen)):.1f} % of objects are wrong, at 95 %"]

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say how much differs; nothing in processes that did not make the table."""
        return self._summary


def _labelled(instances: Instances) -> Iterator[tuple[int, Mask]]:
    """Iterate over the class id and the mask of each instance."""
    return zip(instances.detections.class_ids.tolist(), instances.masks)


def as_polygons(found: Sequence[Labelled], annotated: Sequence[Labelled], tolerance: float) -> list[Labelled]:
    """Draw the polygons of each object that its annotation is nearer to than to its mask: no person left out specks."""
    forms = list(found)
    for i, j, overlap in pair(found, annotated):
        label, mask = found[i]
        drawn = Mask.from_array(rasterize_labelme(polygons_to_correct(mask.crop, tolerance)[0], mask.shape))
        form = replace(drawn, left=drawn.left + mask.left, top=drawn.top + mask.top)
        if mask_iou([form], [annotated[j][1]])[0, 0] > overlap:
            forms[i] = label, form
    return forms


def compare(found: Sequence[Labelled], annotated: Sequence[Labelled], low: float) -> dict[str, Any]:
    """Make the row of one image, without its id."""
    pairs = pair(found, annotated)
    paired = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    extra = [label for i, (label, _) in enumerate(found) if i not in paired[0]]
    missing = [label for j, (label, _) in enumerate(annotated) if j not in paired[1]]
    weak = [(found[i][0], iou) for i, _, iou in pairs if iou < low]
    ious = [iou for _, _, iou in pairs]
    differences = [
        *(f"extra {label}" for label in extra),
        *(f"missing {label}" for label in missing),
        *(f"{label} {iou:.2f}" for label, iou in weak),
    ]
    return {
        **dict(zip(COUNTS, (len(extra), len(missing), len(weak)))),
        "pairs": len(pairs),
        "mean_iou": round(sum(ious) / len(ious), DIGITS) if ious else "",
        "differences": "; ".join(differences),
    }


def changes(found: Sequence[Labelled], corrected: Sequence[Labelled]) -> list[tuple[str, str]]:
    """Say what became of the objects found: a change of CHANGES and the label of each, then of each that was added."""
    pairs = {i: (j, iou) for i, j, iou in pair(found, corrected)}
    taken = {j for j, _ in pairs.values()}
    left = [[i for i in range(len(found)) if i not in pairs], [j for j in range(len(corrected)) if j not in taken]]
    overlaps = mask_iou([found[i][1] for i in left[0]], [corrected[j][1] for j in left[1]])
    rows, columns = match_best_first(overlaps, overlaps >= RELABELLED)
    relabelled = {left[0][row] for row in rows.tolist()}
    added = set(left[1]) - {left[1][column] for column in columns.tolist()}

    def change(i: int) -> str:
        if i in pairs:
            return "accepted" if pairs[i][1] >= ACCEPTED else "redrawn"
        return "relabelled" if i in relabelled else "deleted"

    return [
        *((change(i), label) for i, (label, _) in enumerate(found)),
        *(("added", corrected[j][0]) for j in sorted(added)),
    ]


def change_lines(rows: Iterable[Mapping[str, Any]], before: str, after: str) -> list[str]:
    """Return a line for each label, the most frequent first: how many objects were accepted, redrawn and so on.

    The first line says which of the two is taken for the correction; no line where nothing was compared.
    """
    counts = Counter((label, change) for row in rows for change, label in row.get("changes", ()))
    totals = Counter[str]()
    for (label, _), count in counts.items():
        totals[label] += count
    lines = [
        f"{label}: {', '.join(f'{counts[label, change]} {change}' for change in CHANGES)}"
        for label, _ in totals.most_common()
    ]
    return [f"from {before} to {after}:", *lines] if lines else []


def pair(found: Sequence[Labelled], annotated: Sequence[Labelled]) -> list[tuple[int, int, float]]:
    """Match objects of one label, those of the highest IoU first: positions in both lists, and IoU, of each pair."""
    labels, masks = zip(*found) if found else ((), ())
    names, others = zip(*annotated) if annotated else ((), ())
    overlaps = mask_iou(masks, others)
    same_label = np.array([[label == name for name in names] for label in labels], bool).reshape(overlaps.shape)
    rows, columns = match_best_first(overlaps, same_label & (overlaps >= MIN_PAIR_IOU))
    return [(i, j, float(overlaps[i, j])) for i, j in zip(rows.tolist(), columns.tolist())]


def upper_limit(wrong: int, checked: int) -> float:
    """Compute the share of wrong objects that is exceeded with a chance of 5 % at most: the one-sided exact limit.

    It is that of Clopper and Pearson (1934), from the beta distribution; 1 where nothing was checked.
    """
    from scipy.stats import beta

    return float(beta.ppf(CONFIDENCE, wrong + 1, checked - wrong)) if wrong < checked else 1.0
