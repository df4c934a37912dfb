"""The annotation formats and tables that a run makes, each with its exporter and with what is known to be on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from utils.fingerprint import decisive_files, file_hash, fingerprint, image_mark, run_settings
from utils.options import Options

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

VERSION = 1
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


def build_tasks(options: Options, image_ids: Sequence[str]) -> list[Task]:
    """The tasks of a run, formats first; none when it writes no annotations.

    Args:
        image_ids: the images of the run.

    Raises:
        UserError: there is nothing to compare with, or the run would replace what it compares with or reads.
    """
    if "annotate" not in options.outputs:
        return []
    settings = run_settings(options)
    tasks = [_format(name, options, settings) for name in dict.fromkeys(options.config.auto_mask.formats)]
    tasks.append(_review(options, settings))
    return [*tasks, _diff(options, options.diff, image_ids, settings)] if options.diff else tasks


def _format(name: Format, options: Options, run: Mapping[str, Any]) -> Task:
    auto_mask, split = options.config.auto_mask, options.config.dataset.split
    folder = format_folder(auto_mask.save_dir, name)
    if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    settings = _named(name, {key: getattr(auto_mask, key) for key in OWN[name]}, run)

    def exporter(names: Sequence[str]) -> Exporter:
        form = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below
        return FORMATS[name](ExportSettings(folder, names, split, *form))

    if name not in PLACES:
        return Task(name, StampedFiles(folder, _signer(settings, options)), exporter)
    ledger = RecordedFiles(folder, _signer(settings, options), PLACES[name])
    return Task(name, ledger, exporter, SharedFiles(ledger, fingerprint([settings, split]), options.overwrite))


def _review(options: Options, run: Mapping[str, Any]) -> Task:
    auto_mask = options.config.auto_mask
    settings = _named("review", {"below": auto_mask.review_below}, run)
    ledger = RecordedFiles(auto_mask.save_dir, _signer(settings, options), records=".review")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("review", ledger, lambda names: ReviewExporter(names, auto_mask.review_below), shared, TableSink)


def _diff(options: Options, folder: Path, image_ids: Sequence[str], run: Mapping[str, Any]) -> Task:
    auto_mask = options.config.auto_mask
    own = os.path.realpath(folder) == os.path.realpath(auto_mask.save_dir)
    if own and options.overwrite:
        raise UserError(f"--diff {folder}: --overwrite would replace the annotations there that it compares with")
    references, low = References(folder, own), auto_mask.low_overlap
    if not any(references.path(image_id).is_file() for image_id in image_ids):
        first = references.path(image_ids[0])
        raise UserError(f"--diff {folder}: no annotation of an image of the run; the first one's would be {first}")
    settings = _named("diff", {"low": low}, run)
    ledger = RecordedFiles(auto_mask.save_dir, _signer(settings, options, references.mark), records=".diff")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("diff", ledger, lambda names: DiffExporter(names, references, low), shared, TableSink)


def _named(name: str, own: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """The hash of what decides a format: its name, its own settings and those of the run."""
    return fingerprint({"format": name, "version": VERSION, "own": own, "run": run})


def _signer(settings: str, options: Options, mark: Callable[[str], str | None] = lambda image_id: None) -> Sign:
    """What signs an image: the hash of the settings, the image's file, and what else there is of it."""

    def sign(image_id: str, image: Path) -> str:
        decisive = [file_hash(path) for path in decisive_files(options, image_id)]
        return fingerprint([settings, image_mark(image), mark(image_id), *([decisive] if decisive else [])])

    return sign
