"""The annotation formats and tables that a run makes, each with its exporter and with what is known to be on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.exporters.diff import DiffExporter, References
from utils.exporters.exporter import Exporter, ExportSettings, Format
from utils.exporters.formats import FORMATS, format_folder
from utils.exporters.ledger import Ledger, RecordedFiles, Sign
from utils.exporters.review import ReviewExporter
from utils.exporters.shared import SharedFiles
from utils.exporters.sink import AnnotationSink, TableSink
from utils.exporters.stamps import StampedFiles
from utils.exporters.yolo import escaped
from utils.fingerprint import decisive_files, file_hash, fingerprint, hash_of, image_mark, run_settings
from utils.options import Options
from utils.prompts.prompts import Prompts

PLACES: Mapping[Format, Callable[[str], Sequence[str]]] = {
    "coco": lambda image_id: (),
    "yolo": lambda image_id: [f"labels/{escaped(image_id)}.txt"],
    "voc": lambda image_id: [f"{folder}/{image_id}.png" for folder in ("SegmentationClass", "SegmentationObject")],
}
"""Formats whose files carry no stamp -> where those of an image lie."""

OWN: Mapping[Format, Sequence[str]] = {
    "labelme": ("review_below",),
    "labelme-polygon": ("polygon_tolerance", "review_below"),
    "coco": ("polygon_tolerance", "coco_segmentation"),
    "yolo": ("polygon_tolerance",),
    "voc": (),
}
"""Format -> which keys of `auto_mask` change its files."""

VERSION = 2
"""Raised when the same instances give other files, so that those of an earlier version are made again."""


@dataclass(frozen=True)
class Task:
    """One format or table.

    Attributes:
        name: the format's or the table's.
        ledger: what is there.
        exporter: makes its exporter, given the class names.
        shared: the files that all images share, or None.
        sink: the kind of sink.
    """

    name: str
    ledger: Ledger
    exporter: Callable[[Sequence[str]], Exporter]
    shared: SharedFiles | None = None
    sink: type[AnnotationSink] = AnnotationSink


@dataclass(frozen=True)
class Origin:
    """What decides the instances of an image, in every format.

    Attributes:
        run: that of all images, in JSON's types.
        prompts: the boxes of a prompt file, or None.
        files: the files beside an image that decide its instances, by its id.
    """

    run: Mapping[str, Any]
    prompts: Prompts | None
    files: Callable[[str], Sequence[Path]]

    def settings(self, name: str, own: Mapping[str, Any]) -> str:
        """The hash of what decides all images' files of a format: its name, its own settings and those of the run."""
        return fingerprint({"format": name, "version": VERSION, "own": own, "run": self.run})

    def signer(self, settings: str, mark: Callable[[str], str | None] = lambda image_id: None) -> Sign:
        """What signs an image: the hash of the settings, the image's file and boxes, and what else there is of it."""
        return lambda image_id, image: fingerprint([settings, image_mark(image), self._own(image_id), mark(image_id)])

    def _own(self, image_id: str) -> list[str | None]:
        """The hashes of what the image alone has: its boxes in a prompt file, or files that take their place."""
        boxes = [] if self.prompts is None else [hash_of(self.prompts.content(image_id))]
        return [*boxes, *map(file_hash, self.files(image_id))]


def build_tasks(options: Options, image_ids: Sequence[str], prompts: Prompts | None = None) -> list[Task]:
    """The tasks of a run, formats first; none when it writes no annotations.

    Args:
        image_ids: the images of the run.
        prompts: the boxes of a prompt file, or None.

    Raises:
        UserError: there is nothing to compare with, or the run would replace what it compares with or reads.
    """
    if "annotate" not in options.outputs:
        return []
    origin = Origin(run_settings(options), prompts, partial(decisive_files, options))
    tasks = [_format(name, options, origin) for name in dict.fromkeys(options.config.auto_mask.formats)]
    tasks.append(_review(options, origin))
    return [*tasks, _diff(options, options.diff, image_ids, origin)] if options.diff else tasks


def _format(name: Format, options: Options, origin: Origin) -> Task:
    auto_mask, split = options.config.auto_mask, options.config.dataset.split
    folder = format_folder(auto_mask.save_dir, name)
    if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    settings = origin.settings(name, {key: getattr(auto_mask, key) for key in OWN[name]})

    def exporter(names: Sequence[str]) -> Exporter:
        form = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below
        return FORMATS[name](ExportSettings(folder, names, split, *form))

    if name not in PLACES:
        return Task(name, StampedFiles(folder, origin.signer(settings)), exporter)
    ledger = RecordedFiles(folder, origin.signer(settings), PLACES[name])
    return Task(name, ledger, exporter, SharedFiles(ledger, fingerprint([settings, split]), options.overwrite))


def _review(options: Options, origin: Origin) -> Task:
    auto_mask = options.config.auto_mask
    settings = origin.settings("review", {"below": auto_mask.review_below})
    ledger = RecordedFiles(auto_mask.save_dir, origin.signer(settings), records=".review")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("review", ledger, lambda names: ReviewExporter(names, auto_mask.review_below), shared, TableSink)


def _diff(options: Options, folder: Path, image_ids: Sequence[str], origin: Origin) -> Task:
    auto_mask = options.config.auto_mask
    own = os.path.realpath(folder) == os.path.realpath(auto_mask.save_dir)
    if own and options.overwrite:
        raise UserError(f"--diff {folder}: --overwrite would replace the annotations there that it compares with")
    references, low = References(folder, own), auto_mask.low_overlap
    if not any(references.path(image_id).is_file() for image_id in image_ids):
        first = references.path(image_ids[0])
        raise UserError(f"--diff {folder}: no annotation of an image of the run; the first one's would be {first}")
    settings = origin.settings("diff", {"low": low})
    ledger = RecordedFiles(auto_mask.save_dir, origin.signer(settings, references.mark), records=".diff")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("diff", ledger, lambda names: DiffExporter(names, references, low), shared, TableSink)
