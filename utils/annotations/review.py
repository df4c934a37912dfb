"""What tells a person which images to look at first: a table, links to the doubtful photos, commands that open them."""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import shlex
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from utils.annotations.fingerprint import ImageFingerprint
from utils.annotations.manifest import Manifest
from utils.annotations.records import AnnotationOutput, FileStatus
from utils.classes import CLASS_NAMES
from utils.errors import UserError
from utils.formats.base import RECORDS, REVIEW, Exported, Exporter, relative_path
from utils.formats.review_flags import CONFIDENCE_TERMS, DIGITS, confidence_terms, confidences
from utils.io.encoding import encode_json, encode_lines, encode_table
from utils.io.json_files import read_json
from utils.io.terminal import counted
from utils.io.writers import atomic_link, atomic_write, is_inside, remove_files, safe_path
from utils.structures import Instances, Sample

BELOW = 0.5
"""Where no limit is set, images with a confidence term below this are doubtful."""

PENDING = "pending"

NOTHING = "nothing found"
"""In place of a class, where an image has no object."""


@dataclass(frozen=True)
class ReviewSettings:
    """Hold what the table must know besides the instances.

    Attributes:
        folder: the annotation folder.
        names: class names, indexed by class id.
        below: the limit of `needs_review`; None counts no shapes.
        edited: returns the images whose annotation a person edited, which are finished, once `scan` has found them.
        photos: image id and the image file that annotations name, of each image.
        nested: whether images lie in folders below the sources.
        labelme: the folder of the labelme files that a person corrects, or None.
        sources: what labelme opens to show all images.
        audit: objects to draw at random for a check; their images take the place of the doubtful ones. 0: none.
    """

    folder: Path
    names: Sequence[str]
    below: float | None = None
    edited: Callable[[], Collection[str]] = frozenset
    photos: Callable[[], Iterator[tuple[str, Path]]] = lambda: iter(())
    nested: bool = False
    labelme: Path | None = None
    sources: Sequence[Path] = ()
    audit: int = 0


class ReviewExporter(Exporter):
    """Make the table `review.csv`: images without an object, then the most doubtful ones, at the end the edited."""

    def __init__(self, settings: ReviewSettings) -> None:
        self._settings = settings
        self.doubtful: list[str] = []
        self._images = 0

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the image's row; no file."""
        terms = confidence_terms(instances)
        least_of_each = np.array(confidences(instances))
        worst = int(least_of_each.argmin()) if len(instances) else None
        row: dict[str, Any] = {
            "doubt": 1.0 if worst is None else round(1 - least_of_each[worst], DIGITS),
            "objects": len(instances),
            "doubtful": NOTHING if worst is None else self._settings.names[instances.detections.class_ids[worst]],
            "confidences": least_of_each.tolist(),
            "photo": relative_path(sample.path, self._settings.folder),
        }
        if instances.track_ids is not None:
            row["track"] = "" if worst is None else int(instances.track_ids[worst])
        least = terms.min(axis=0, initial=1.0).tolist()
        row |= {term: round(value, DIGITS) for term, value in zip(CONFIDENCE_TERMS, least)}
        return Exported({}, record=row)

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record is a row of the table."""
        cells = {key: value for key, value in record.items() if key != "confidences"}
        known = record.get("confidences", [])
        return (
            all(isinstance(value, (str, int, float)) for value in cells.values())
            and isinstance(known, list)
            and all(isinstance(value, (int, float)) for value in known)
            and not isinstance(record.get("doubt", ""), str)
            and type(record.get("objects")) is int
        )

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """Make `review.csv`, and the list of classes for labelme."""
        rows = [self._row(image_id, record) for image_id, record in records]
        drawn = sample_objects({row["image_id"]: row["objects"] for row in rows}, self._settings.audit)
        for row in rows:
            row["audit"] = "; ".join(str(i + 1) for i in drawn.get(row["image_id"], ()))
        rows.sort(key=lambda row: (not row["audit"], row["edited"], row["objects"] > 0, -row["doubt"]))
        self._images = len(rows)
        is_shown = (lambda row: bool(row["audit"])) if self._settings.audit else self._is_doubtful
        self.doubtful = [row["image_id"] for row in rows if not row["edited"] and is_shown(row)]
        audit = ["audit"] if self._settings.audit else []
        track = ["track"] if any("track" in row for row in rows) else []
        common = ("image_id", "edited", "doubt", "objects", "needs_review", "doubtful")
        columns = (*common, *audit, *track, *CONFIDENCE_TERMS)
        return {"review.csv": encode_table(columns, rows), CLASS_NAMES: encode_lines(self._settings.names)}

    def _row(self, image_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
        row = {"image_id": image_id, **record, "edited": int(image_id in self._settings.edited())}
        if not row["objects"]:  # earlier versions had no doubt of it
            row |= {"doubt": 1.0, "doubtful": NOTHING}
        if self._settings.below is not None:
            row["needs_review"] = sum(confidence < self._settings.below for confidence in record.get("confidences", ()))
        return row

    def _is_doubtful(self, row: Mapping[str, Any]) -> bool:
        below = BELOW if self._settings.below is None else self._settings.below
        # Records of earlier versions have the rounded doubt only.
        return not row["objects"] or min(row.get("confidences", [1 - row["doubt"]]), default=0) < below

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say how many images are doubtful and how to open them; nothing in processes that did not make the table."""
        if not self._images:
            return []
        which = "drawn for a check" if self._settings.audit else "doubtful"
        lines = [f"{counted(self._images, 'image')}, {len(self.doubtful)} {which}, ranked in {folder / 'review.csv'}"]
        return lines + open_lines(self._settings, bool(self.doubtful))


class ReviewManifest(Manifest):
    """Know the table's records, and the links beside it. A limit alone needs no new records.

    Args:
        settings: of the table.
    """

    def __init__(self, output: AnnotationOutput, fingerprint: ImageFingerprint, settings: ReviewSettings) -> None:
        super().__init__(output, fingerprint, [settings.below is None])
        self.settings = settings

    def _folders(self, image_id: str) -> set[Path]:
        return {*super()._folders(image_id), safe_path(self.folder / REVIEW, image_id, "").parent}

    def status(self, image_id: str, image: Path) -> FileStatus:
        """Compare as `Manifest.status` does; an earlier version's record does for no limit only."""
        status, record = super().status(image_id, image), self._record(image_id)
        lacks = self.settings.below is not None and record is not None and "confidences" not in record.record
        return FileStatus.OUTDATED if lacks and status is FileStatus.DONE else status

    def is_assembled(self, image_ids: Sequence[str]) -> bool:
        """Return whether table and links are up to date; a process that was killed may have left some links undone."""
        return super().is_assembled(image_ids) and not self._linked().get(PENDING)

    def assemble(self, exporter: Exporter, image_ids: Sequence[str]) -> list[Path]:
        """Write the table and the links to the doubtful photos, as `Manifest.assemble` does."""
        before = self._links()
        self._note(before, pending=True)
        edited = super().assemble(exporter, image_ids)
        assert isinstance(exporter, ReviewExporter)
        doubtful = {*exporter.doubtful}
        found = {image_id: photo for image_id, photo in self.settings.photos() if image_id in doubtful}
        photos = {image_id: found[image_id] for image_id in exporter.doubtful}
        self._link({f"{image_id}{photo.suffix}": photo for image_id, photo in photos.items()}, before)
        return edited

    def _linked(self) -> dict[str, Any]:
        """Read which links are ours, and whether some may be missing."""
        try:
            noted = read_json(self.folder / REVIEW / RECORDS)
        except UserError:
            return {}
        return noted if isinstance(noted, dict) else {}

    def _links(self) -> set[str]:
        """Return the links that are ours, of those that the record names."""
        names, folder = self._linked().get("links"), self.folder / REVIEW
        texts = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
        return {name for name in texts if is_inside(folder, name) and (folder / name).is_symlink()}

    def _note(self, links: Iterable[str], pending: bool) -> None:
        content = json.dumps({"links": sorted(links), PENDING: pending})
        atomic_write(self.folder / REVIEW / RECORDS, content.encode())

    def _link(self, wanted: Mapping[str, Path], before: Collection[str]) -> None:
        """Make the links of `review/`; those of an earlier run go, and what somebody else put there stays."""
        folder = self.folder / REVIEW
        free = [name for name in wanted if name in before or not os.path.lexists(folder / name)]
        self._note({*before, *free}, pending=True)
        for name in before:
            self._name_photo(name)
        remove_files(folder, [name for name in before if name not in wanted])
        for name in free:
            if wanted[name].exists():
                atomic_link(folder / name, wanted[name])
        self._note(free, pending=False)

    def _name_photo(self, name: str) -> None:
        """Let an annotation name its photo again; labelme saves the path of the link by which it was opened."""
        link = self.folder / REVIEW / name
        path = (self.settings.labelme or self.folder) / PurePath(name).with_suffix(".json")
        try:
            annotation = read_json(path, json.loads)
            named = path.parent / annotation["imagePath"]
            if Path(os.path.realpath(named.parent), named.name) != Path(os.path.realpath(link.parent), link.name):
                return
            annotation["imagePath"] = relative_path(Path(os.readlink(link)), path.parent)
            content = encode_json(annotation, indent=2)
        except (ValueError, TypeError, KeyError):  # no annotation, or a NaN in it, which labelme reads and writes
            return
        atomic_write(path, content)


def sample_objects(counts: Mapping[str, int], size: int) -> dict[str, list[int]]:
    """Draw objects at random, each with the same chance: those of the least hashes.

    The sample depends on neither the order of images nor the processes; a larger one contains a smaller one.

    Args:
        counts: objects of each image, by its id.
        size: objects to draw; all where there are fewer.

    Returns:
        the positions of the objects drawn, ascending, by the id of their image.
    """
    objects = ((image_id, i) for image_id, count in counts.items() for i in range(count if size else 0))
    chosen = heapq.nsmallest(size, objects, key=lambda each: hashlib.sha256(repr(each).encode()).digest())
    drawn: defaultdict[str, list[int]] = defaultdict(list)
    for image_id, i in sorted(chosen):
        drawn[image_id].append(i)
    return dict(drawn)


def open_lines(settings: ReviewSettings, doubtful: bool) -> list[str]:
    """Say which commands open the labelme files: those of doubtful images, and all."""
    corrected = settings.labelme
    if corrected is None:
        return []
    classes = settings.folder / CLASS_NAMES
    labels = typed(classes) if classes.is_file() else ",".join(settings.names)

    def command(source: Path) -> str:
        words = ["labelme", typed(source)], ["--output", typed(corrected)], ["--labels", labels]
        return "\n  " + " \\\n      ".join(map(shlex.join, words))  # fits most terminals, and can be pasted

    hint = " (by labelme 7: earlier ones look into no sub-folder of --output)" if settings.nested else ""
    which = "images drawn for a check" if settings.audit else "doubtful images"
    lines = [f"open the {which}{hint}:{command(settings.folder / REVIEW)}"] if doubtful else []
    lines += [f"open all{hint}:{command(source)}" for source in settings.sources]
    if corrected == settings.folder:
        lines.append("masks have no points to drag in labelme; --format labelme-polygon writes polygons to correct")
    return lines


def typed(path: Path) -> str:
    """Return a path as a user types it: from the working directory where it lies below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
