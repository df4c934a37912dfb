"""The annotation formats and tables that a run makes, each with its exporter and with what is known to be on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from utils.errors import UserError
from utils.exporters.diff import DiffExporter, References
from utils.exporters.exporter import FRAME_SUFFIX, Exporter, ExportSettings, Format, format_folder
from utils.exporters.formats import FORMATS
from utils.exporters.frames import QUALITY, FrameExporter, FrameSink
from utils.exporters.ledger import Ledger, RecordedFiles
from utils.exporters.origin import Origin, origin_of
from utils.exporters.review import ReviewExporter
from utils.exporters.shared import SharedFiles
from utils.exporters.sink import AnnotationSink, TableSink
from utils.exporters.stamps import StampedFiles
from utils.exporters.yolo import escaped
from utils.fingerprint import fingerprint
from utils.image_files import is_video_name
from utils.options import Options
from utils.outputs import overlay_place
from utils.problems import refuse
from utils.prompts.prompts import Prompts
from utils.voc_tree import map_files

PLACES: Mapping[Format, Callable[[str], Sequence[str]]] = {
    "coco": lambda image_id: (),
    "yolo": lambda image_id: [f"labels/{escaped(image_id)}.txt"],
    "voc": map_files,
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


class Images(Protocol):
    """The images of a run.

    Attributes:
        units: the positions of the images that make up each batch or, with `--video`, each clip.
    """

    units: Sequence[range]

    @property
    def ids(self) -> list[str]:
        """The image ids of the whole dataset."""

    @property
    def paths(self) -> list[Path]:
        """Their files; frames of a video share its file."""


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


def build_tasks(options: Options, images: Images, prompts: Prompts | None = None) -> list[Task]:
    """The tasks of a run, formats first; none when it writes no annotations.

    Args:
        images: those of the run, in all its units.
        prompts: the boxes of a prompt file, or None.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, write
            frames of videos among the clips, or overlays over them.
    """
    if "annotate" not in options.outputs:
        return []
    clips = [[(images.ids[i], images.paths[i]) for i in unit] for unit in images.units] if options.video else []
    origin = origin_of(options, prompts, clips)
    formats = list(dict.fromkeys(options.config.auto_mask.formats))
    tasks = [_format(name, options, origin) for name in formats]
    if filmed := [image_id for image_id, path in zip(images.ids, images.paths) if is_video_name(path.name)]:
        _check_apart(options)
        _check_overlays(options, images.ids, filmed, formats)
        if formats != ["yolo"]:  # which has frames itself
            tasks.insert(0, _frames(options, set(filmed), origin))
    tasks.append(_review(options, origin))
    return [*tasks, _diff(options, options.diff, images.ids, origin)] if options.diff else tasks


def _check_apart(options: Options) -> None:
    """Raises UserError where frames of videos would be written among the clips."""
    folder = options.config.auto_mask.save_dir
    for source in map(os.path.realpath, options.source):
        if Path(os.path.realpath(folder)).is_relative_to(source):
            advice = f"for the next run, the frames of videos there would be further clips of {source}"
            raise UserError(f"auto_mask.save_dir: {folder}: {advice}; choose a folder outside it")


def _check_overlays(options: Options, image_ids: Sequence[str], filmed: Sequence[str], formats: list[Format]) -> None:
    """Raises UserError where overlays would take the place of frames of videos."""
    if "visual" not in options.outputs:
        return
    look, folder = options.config.predictor, Path(os.path.realpath(options.config.auto_mask.save_dir))
    stems = [folder / image_id for image_id in filmed if formats != ["yolo"]]
    if "yolo" in formats:
        stems += [format_folder(folder, "yolo") / "images" / escaped(image_id) for image_id in filmed]
    frames = {f"{stem}{FRAME_SUFFIX}" for stem in stems}
    real = Path(os.path.realpath(look.save_dir))
    overlays = [str(overlay_place(real, image_id, look.format)) for image_id in image_ids]
    reason = "overlays there would replace the frames of videos that annotating writes; choose another folder"
    refuse(f"predictor.save_dir: {look.save_dir}: {reason}:", [place for place in overlays if place in frames])


def _frames(options: Options, filmed: Collection[str], origin: Origin) -> Task:
    """The frames of video files; their images depend on nothing but the videos."""

    def sign(image_id: str, image: Path) -> str:
        return fingerprint(["frames", QUALITY, origin.mark(image)])

    def places(image_id: str) -> Sequence[str]:
        return [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else []

    ledger = RecordedFiles(options.config.auto_mask.save_dir, sign, places, records=".frames")
    return Task("frames", ledger, lambda names: FrameExporter(), sink=FrameSink)


def _format(name: Format, options: Options, origin: Origin) -> Task:
    auto_mask, split = options.config.auto_mask, options.config.dataset.split
    folder = format_folder(auto_mask.save_dir, name)
    if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    settings = origin.settings(name, {key: getattr(auto_mask, key) for key in OWN[name]})

    def exporter(names: Sequence[str]) -> Exporter:
        form = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below
        return FORMATS[name](ExportSettings(folder, names, split, *form, frames=auto_mask.save_dir))

    if name not in PLACES:
        return Task(name, StampedFiles(folder, origin.signer(settings), auto_mask.save_dir), exporter)
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
