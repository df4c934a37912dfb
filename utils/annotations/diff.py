"""How the objects found differ from labelme annotations that exist: `diff.csv`, the most different image first.

Objects of one label are paired, those that overlap most (IoU) first. What has no partner is extra (found only) or
missing (annotated only); a pair that overlaps little is listed, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.fingerprint import hash_of
from utils.annotations.stamps import untouched
from utils.classes import ClassIndex, match_classes
from utils.errors import SampleError, UserError
from utils.formats.base import Exported
from utils.formats.labelme_reader import check_size, labelme_instances, read_shapes
from utils.io.encoding import encode_table
from utils.io.writers import safe_path
from utils.masks import Mask, mask_iou
from utils.matching import match_best_first
from utils.structures import Instances, Sample

PAIRED = 0.1
"""Objects that overlap less are no pair."""

DIGITS = 4

COUNTS = ("extra", "missing", "low_overlap")

COLUMNS = ("image_id", *COUNTS, "pairs", "mean_iou", "differences")

Labelled = tuple[str, Mask]


class References:
    """The annotations to compare with, `<folder>/<image_id>.json`.

    Args:
        folder: where they are.
        own: it is the folder that the run itself writes to; there only what a person edited can be compared with.
    """

    def __init__(self, folder: Path, own: bool = False) -> None:
        self.folder, self._own = folder, own

    def path(self, image_id: str) -> Path:
        """The annotation file of an image, there or not."""
        return safe_path(self.folder, image_id, ".json")

    def mark(self, image_id: str) -> str | None:
        """The hash of an image's file, or None if there is none to compare with."""
        try:
            content = self.path(image_id).read_bytes()
        except OSError:
            return None
        return None if self._own and untouched(content) else hash_of(content)


class DiffExporter:
    """The table `diff.csv`, of the images that have an annotation to compare with.

    Args:
        names: class names, indexed by class id.
        references: the annotations to compare with.
        low: pairs that overlap less are listed.
    """

    def __init__(self, names: Sequence[str], references: References, low: float) -> None:
        self._names, self._references, self._low = names, references, low
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The image's row, empty where there is nothing to compare with; no file.

        Raises:
            SampleError: the annotation is none that labelme would load.
        """
        if self._references.mark(sample.image_id) is None:
            return Exported({})
        path = self._references.path(sample.image_id)
        try:
            names, annotated = self._read(path, sample.size)
        except UserError as error:
            raise SampleError(sample.image_id, path, str(error).removeprefix(f"{path}: ")) from error
        return Exported({}, record=compare(labelled(instances, names), labelled(annotated, names), self._low))

    def _read(self, path: Path, size: tuple[int, int]) -> tuple[Sequence[str], Instances]:
        """The instances of an annotation, and the names that their class ids index: the run's and other labels."""
        labels = list(dict.fromkeys(shape.label for shape in read_shapes(path)))
        known = match_classes(labels, self._names)
        names = [*self._names, *(label for i, label in enumerate(labels) if i not in known)]
        annotated = labelme_instances(path, ClassIndex(names))
        check_size(annotated.size, size, path)
        return names, annotated

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """`diff.csv`."""
        entries = list(records)
        rows = [{"image_id": image_id, **row} for image_id, row in entries if row]
        rows.sort(key=lambda row: -sum(row[count] for count in COUNTS))
        without = len(entries) - len(rows)
        sums = ", ".join(f"{sum(row[count] for row in rows)} {count.replace('_', ' ')}" for count in COUNTS)
        differing = sum(bool(row["differences"]) for row in rows)
        self._summary = [
            f"{len(rows)} images compared with {self._references.folder}: objects {sums}, in {differing} images",
            *([f"{without} images have no annotation there to compare with"] if without else []),
        ]
        return {"diff.csv": encode_table(COLUMNS, rows)}

    def summary(self) -> list[str]:
        """How much differs."""
        return self._summary


def labelled(instances: Instances, names: Sequence[str]) -> list[Labelled]:
    """Class name and mask of each instance."""
    return [(names[i], mask) for i, mask in zip(instances.detections.class_ids, instances.masks)]


def compare(found: Sequence[Labelled], annotated: Sequence[Labelled], low: float) -> dict[str, Any]:
    """The row of one image, without its id."""
    pairs = pair(found, annotated)
    lone = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    extra = [label for i, (label, _) in enumerate(found) if i not in lone[0]]
    missing = [label for j, (label, _) in enumerate(annotated) if j not in lone[1]]
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
    """Positions in both lists, and IoU, of objects of one label that belong together; each is in one pair at most."""
    labels, masks = zip(*found) if found else ((), ())
    names, others = zip(*annotated) if annotated else ((), ())
    overlaps = mask_iou(masks, others)
    same_label = np.array([[label == name for name in names] for label in labels], bool).reshape(overlaps.shape)
    rows, columns = match_best_first(overlaps, same_label & (overlaps >= PAIRED))
    return [(i, j, float(overlaps[i, j])) for i, j in zip(rows.tolist(), columns.tolist())]
