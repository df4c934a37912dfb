"""Compare the objects found with labelme annotations that exist: `diff.csv`, the most different image first.

Objects of one label are paired, those that overlap most (IoU) first. What has no partner is extra (found only) or
missing (annotated only); a pair that overlaps little is listed, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.fingerprint import hash_of
from utils.annotations.stamps import parse_if_unmodified
from utils.classes import ClassIndex, match_classes
from utils.errors import SampleError, UserError
from utils.files import open_regular
from utils.formats.base import Exported, Exporter
from utils.formats.labelme_reader import check_size, labelme_instances, read_labelme_json, shapes_of, size_of
from utils.io.encoding import encode_table
from utils.io.terminal import counted
from utils.io.writers import safe_path
from utils.masks import Mask, mask_iou
from utils.matching import match_best_first
from utils.structures import Instances, Sample

MIN_PAIR_IOU = 0.1
"""Objects that overlap less are no pair."""

DIGITS = 4

COUNTS = ("extra", "missing", "low_overlap")

COLUMNS = ("image_id", *COUNTS, "pairs", "mean_iou", "differences")

Labelled = tuple[str, Mask]


class References:
    """Find the annotations to compare with, `<folder>/<image_id>.json`.

    Args:
        folder: where they are.
        own: it is the folder that the run itself writes to; there only what a person edited can be compared with.
    """

    def __init__(self, folder: Path, own: bool = False) -> None:
        self.folder, self._own = folder, own

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
        return None if self._own and parse_if_unmodified(content) else hash_of(content)


def find_references(folder: Path, save_dir: Path, image_ids: Sequence[str], overwrite: bool) -> References:
    """Find the annotations to compare with.

    Raises:
        UserError: there are none, or the run would replace them.
    """
    own = os.path.realpath(folder) == os.path.realpath(save_dir)
    if own and overwrite:
        raise UserError(f"--diff {folder}: --overwrite would replace the annotations there that it compares with")
    references = References(folder, own)
    if not any(os.path.isfile(references.path(image_id)) for image_id in image_ids):
        first = references.path(image_ids[0])
        raise UserError(f"--diff {folder}: no annotation of an image of the run; the first one's would be {first}")
    return references


class DiffExporter(Exporter):
    """Make the table `diff.csv`, of the images that have an annotation to compare with.

    Args:
        names: class names, indexed by class id.
        references: the annotations to compare with.
        low: pairs that overlap less are listed.
    """

    def __init__(self, names: Sequence[str], references: References, low: float) -> None:
        self._names, self._references, self._low = names, references, low
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the image's row, empty where there is nothing to compare with; no file.

        Raises:
            SampleError: the annotation is none that labelme would load.
        """
        if self._references.content_hash(sample.image_id) is None:
            return Exported({})
        path = self._references.path(sample.image_id)
        try:
            names, annotated = self._read(path, sample.size)
        except UserError as error:
            raise SampleError(sample.image_id, path, str(error).removeprefix(f"{path}: ")) from error
        return Exported({}, record=compare(labelled(instances, names), labelled(annotated, names), self._low))

    def _read(self, path: Path, size: tuple[int, int]) -> tuple[Sequence[str], Instances]:
        """Read an annotation, and the names that its class ids index: the run's and other labels."""
        content = read_labelme_json(path)
        check_size(size_of(content, path, size), size, path)  # before shapes are drawn in that size
        labels = list(dict.fromkeys(shape.label for shape in shapes_of(content, path)))
        known = match_classes(labels, self._names)
        names = [*self._names, *(label for i, label in enumerate(labels) if i not in known)]
        return names, labelme_instances(path, ClassIndex(names), known_size=size)

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record is a row of the table, or empty."""
        counts = all(type(record.get(count)) is int for count in COUNTS)
        return not record or (counts and all(isinstance(value, (str, int, float)) for value in record.values()))

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """Make `diff.csv`."""
        entries = list(records)
        rows = [{"image_id": image_id, **row} for image_id, row in entries if row]
        rows.sort(key=lambda row: -sum(row[count] for count in COUNTS))
        without = len(entries) - len(rows)
        sums = ", ".join(f"{sum(row[count] for row in rows)} {count.replace('_', ' ')}" for count in COUNTS)
        differing = counted(sum(bool(row.get("differences")) for row in rows), "image")
        lacking = f"{counted(without, 'image has', 'images have')} no annotation there to compare with"
        self._summary = [
            f"{counted(len(rows), 'image')} compared with {self._references.folder}: objects {sums}, in {differing}",
            *([lacking] if without else []),
        ]
        return {"diff.csv": encode_table(COLUMNS, rows)}

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say how much differs; nothing in processes that did not make the table."""
        return self._summary


def labelled(instances: Instances, names: Sequence[str]) -> list[Labelled]:
    """Return the class name and the mask of each instance."""
    return [(names[i], mask) for i, mask in zip(instances.detections.class_ids, instances.masks)]


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


def pair(found: Sequence[Labelled], annotated: Sequence[Labelled]) -> list[tuple[int, int, float]]:
    """Match objects of one label, those of the highest IoU first: positions in both lists, and IoU, of each pair."""
    labels, masks = zip(*found) if found else ((), ())
    names, others = zip(*annotated) if annotated else ((), ())
    overlaps = mask_iou(masks, others)
    same_label = np.array([[label == name for name in names] for label in labels], bool).reshape(overlaps.shape)
    rows, columns = match_best_first(overlaps, same_label & (overlaps >= MIN_PAIR_IOU))
    return [(i, j, float(overlaps[i, j])) for i, j in zip(rows.tolist(), columns.tolist())]
