"""The outputs of an annotating run, and which images are to be worked on for them."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.annotations.diff import DiffExporter, find_references
from utils.annotations.fingerprint import ImageFingerprint, RunFingerprint, json_hash
from utils.annotations.index import file_times
from utils.annotations.labelme_manifest import LabelmeManifest
from utils.annotations.manifest import Manifest
from utils.annotations.prune import find_orphans, prune, unused_edits
from utils.annotations.records import UNFINISHED, AnnotationOutput, FileStatus
from utils.annotations.review import ReviewExporter, ReviewManifest, ReviewSettings, open_lines
from utils.annotations.sink import AnnotationSink
from utils.annotations.splits import assign_splits, split_lines
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, RunImages, Sink
from utils.errors import UserError
from utils.formats.base import FRAME_SUFFIX, JPEG_QUALITY, ExportSettings, FrameExporter, photo_path
from utils.formats.labelme_reader import POLYGONS
from utils.formats.registry import FORMATS, format_folder
from utils.io.image_files import is_video_name
from utils.io.terminal import say, warn
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample

MAX_SOURCES = 3
"""Sources for which the command that opens them is printed."""


@dataclass(frozen=True)
class AnnotationPlan:
    """Say what there is to do; without `annotate` among the outputs that is every image.

    Attributes:
        options: of the run.
        ids: its images.
        units: those to be worked on, not yet divided among the processes; if the run only annotates, without those of
            which every image is finished.
        nothing_to_do: whether all files are up to date, or the run is a dry one.
        manifests: one for each output.
        finished: the images in `units` that are finished; none in clips, whose tracks need every frame again.
        lines: for each format that has files already, how many images it has yet to write, has or keeps; in a dry run
            for every output.
        orphans: what has no photo any more, see `find_orphans`.
        prunable: the manifests of all that an orphan may have.
    """

    options: Options
    ids: Sequence[str]
    units: Sequence[range]
    nothing_to_do: bool
    manifests: Sequence[Manifest] = ()
    finished: Collection[str] = ()
    lines: Sequence[str] = ()
    orphans: Mapping[str, bool] = field(default_factory=dict)
    prunable: Sequence[Manifest] = ()

    @property
    def unfinished(self) -> list[int]:
        """Return the positions of the images that have no file or an outdated one, in any output."""
        return np.flatnonzero(_have_status(UNFINISHED, self.manifests, len(self.ids))).tolist()

    def prune_orphans(self) -> None:
        """Remove the annotations without photo if the options say so; print how many there are.

        Call this after the last check that may refuse the run, since nothing brings removed files back.
        """
        options = self.options
        if self.orphans:
            say([prune(self.orphans, self.prunable, keep=not options.prune, dry_run=options.dry_run)])

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """Make the sinks of all outputs.

        Args:
            names: class names, indexed by class id.
        """
        return [AnnotationSink(manifest, names, writers, self.ids) for manifest in self.manifests]

    def skip_finished(self, cascade: Cascade | None) -> Cascade:
        """Wrap a cascade, or None in runs that need no model: it skips batches of which all images are finished.

        `units` has no such batch; but where the unfinished images of a batch cannot be read, the others come alone.
        """
        return _SkipFinished(cascade, self.finished)


def plan_annotations(options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """Decide what there is to do: look at what every output has of each image.

    Args:
        options: of the run.
        images: of the run, in all its units.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which makes the same plan: none writes before all have looked.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, or write
            frames of videos among the clips.
    """
    own_units = options.own_units(images.units)
    if "annotate" not in options.outputs:
        return AnnotationPlan(options, images.ids, own_units, options.dry_run)
    # Of a shard only its own images are looked at.
    part = None if options.shard is None else [i for unit in own_units for i in unit]
    shard = "" if options.shard is None else "-{}-of-{}".format(*options.shard)

    def scan(manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            manifest.scan(images.ids, images.paths, session, part, shard)

    fingerprint, splits = RunFingerprint(options, prompts, images), assign_splits(options, images)
    manifest_of = partial(_format_manifest, options=options, fingerprint=fingerprint, splits=splits)
    formats = {name: manifest_of(name) for name in dict.fromkeys(options.config.auto_mask.formats)}
    files = [*_frame_manifests(options, images, fingerprint), *formats.values()]
    scan(files)
    review = _review_settings(options, images, formats.values())  # reads the statuses that `scan` found
    if session.is_main:
        warn(unused_edits(formats, images))
    tables = [_review_manifest(options, fingerprint, review), *_diff_manifests(options, images, fingerprint)]
    scan(tables)
    manifests = [*files, *tables]
    units, finished = _units_to_do(options, images, own_units, manifests)
    whole = options.outputs == ("annotate",) and options.shard is None and not options.merge
    done = whole and not units and all(manifest.is_assembled(images.ids) for manifest in manifests)
    nothing_to_do = options.dry_run or session.gather([done])[0]  # the first process says it for all
    for manifest in manifests if not options.dry_run else ():
        manifest.save_index()
    orphans, others = dict[str, bool](), list[Manifest]()
    if session.is_main and options.shard is None:
        orphans = find_orphans(options.config.auto_mask.save_dir, images)
        others = [manifest_of(name) for name in FORMATS if name not in formats and _is_apart(options, name)]
    return AnnotationPlan(
        options,
        images.ids,
        units,
        nothing_to_do,
        manifests,
        finished,
        lines=[
            *_status_lines(manifests, options, part),
            *([] if all(FORMATS[name].is_labelme for name in formats) else split_lines(splits, options)),
            *(open_lines(review, False) if nothing_to_do and not options.dry_run else []),
        ],
        orphans=orphans,
        prunable=[*files, *others, *reversed(tables)],  # the review table, whose records tell of orphans, comes last
    )


def _units_to_do(
    options: Options, images: RunImages, own_units: Sequence[range], manifests: Sequence[Manifest]
) -> tuple[Sequence[range], Collection[str]]:
    """Return `units` and `finished` of the plan; `own_units` are those of the shard or the whole run."""
    if options.outputs != ("annotate",):
        return own_units, ()
    statuses = (*UNFINISHED, *([FileStatus.EDITED] if options.overwrite else []))
    needed = _have_status(statuses, manifests, len(images.ids))
    units = [unit for unit in own_units if needed[unit.start : unit.stop].any()]
    return units, () if options.video else {images.ids[i] for unit in units for i in unit if not needed[i]}


def _have_status(statuses: Sequence[FileStatus], manifests: Sequence[Manifest], count: int) -> npt.NDArray[np.bool_]:
    """Return (count,) bool: whether each image has one of these statuses in any output."""
    found = np.zeros(count, bool)
    for manifest in manifests:
        found |= np.isin(manifest.statuses, statuses)
    return found


def _status_lines(manifests: Sequence[Manifest], options: Options, part: Sequence[int] | None) -> Iterator[str]:
    """Say what becomes of how many images; of a shard its own, which are the `part`."""
    texts = {
        FileStatus.NEW: "to write",
        FileStatus.OUTDATED: "to write again, made with other settings or from another image",
        FileStatus.DONE: "done",
        FileStatus.REFRESH: "done, to be brought up to date without the models",
        FileStatus.EDITED: "edited, to be replaced" if options.overwrite else "edited and kept",
    }
    for manifest in manifests:
        counts = Counter((manifest.statuses if part is None else manifest.statuses[part]).tolist())
        if options.dry_run or (manifest.name in FORMATS and {*counts} - {FileStatus.NEW}):
            said = ", ".join(f"{counts[status]} {text}" for status, text in texts.items() if counts[status])
            yield f"{manifest.name}: {said}; {manifest.folder}"
    is_labelme = {
        manifest.name: FORMATS[manifest.name].is_labelme for manifest in manifests if manifest.name in FORMATS
    }
    edited = [m.folder for m in manifests if is_labelme.get(m.name) and FileStatus.EDITED in m.statuses]
    others = " ".join(name for name in is_labelme if not is_labelme[name])
    if edited and others and not (options.overwrite or options.annotations):
        advice = f"-a {shlex.quote(str(edited[0]))} --format {others} -o DIR takes it over"
        yield f"what a person edited in {edited[0]} is in no other format: {advice}"


class _SkipFinished:
    """Pass over batches of which all images are done; see `AnnotationPlan.skip_finished`."""

    def __init__(self, cascade: Cascade | None, done: Collection[str]) -> None:
        self._cascade, self._done = cascade, done

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        needed = any(sample.image_id not in self._done for sample in samples)
        return self._cascade(samples) if self._cascade and needed else iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return self._cascade.summary_lines(session) if self._cascade else []


def _frame_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
    """Make the manifest of the frames of videos, where there are any and a format names them.

    Raises:
        UserError: they would be written among the clips.
    """
    auto_mask = options.config.auto_mask
    filmed = _filmed(options, images)
    if not filmed:
        return []
    for source in map(os.path.realpath, options.source):
        if Path(os.path.realpath(auto_mask.save_dir)).is_relative_to(source):
            advice = f"for the next run, the frames of videos there would be further clips of {source}"
            raise UserError(f"auto_mask.save_dir: {auto_mask.save_dir}: {advice}; choose a folder outside it")
    if all(FORMATS[name].photo for name in auto_mask.formats):
        return []
    output = AnnotationOutput(
        "frames",
        auto_mask.save_dir,
        lambda names: FrameExporter(ExportSettings(auto_mask.save_dir, names)),
        options.overwrite,
        files=lambda image_id: [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else [],
        photo=lambda image_id: image_id,
        records=".frames",
    )
    of_video = ImageFingerprint(  # frames depend on nothing but their video
        lambda image_id, image: json_hash(["frames", JPEG_QUALITY, fingerprint.signature(image)]),
        lambda image_id, image: image.encode("utf-8", "surrogateescape") + file_times(image),
    )
    return [Manifest(output, of_video)]


def _filmed(options: Options, images: RunImages) -> set[str]:
    """Return the images that are frames of video files."""
    every = zip(images.ids, images.paths) if options.video else ()
    return {image_id for image_id, path in every if is_video_name(path.name)}


def _review_settings(options: Options, images: RunImages, formats: Iterable[Manifest]) -> ReviewSettings:
    """Collect what the review table needs of a run."""
    found = {image_id for manifest in formats for image_id in manifest.ids_of(FileStatus.EDITED)}
    edited = [] if options.overwrite else sorted(found)
    folder, below = options.config.auto_mask.save_dir, options.config.auto_mask.review_below

    def photos() -> Iterator[tuple[str, Path]]:
        return ((image_id, photo_path(image_id, path, folder)) for image_id, path in zip(images.ids, images.paths))

    labelme = [name for name in options.config.auto_mask.formats if FORMATS[name].is_labelme]
    root = options.config.dataset.data_dir
    sources = [folder] if _filmed(options, images) else [*options.source] or ([root / "JPEGImages"] if root else [])
    # Polygons are corrected rather than masks, which have no points to drag.
    corrected = format_folder(folder, POLYGONS if POLYGONS in labelme else labelme[0]) if labelme else None
    nested, audit = any("/" in image_id for image_id in images.ids), options.config.auto_mask.audit
    shown = sources[:MAX_SOURCES]
    return ReviewSettings(  # the class names follow with the exporter
        folder, (), below, edited, photos, nested=nested, labelme=corrected, sources=shown, audit=audit
    )


def _review_manifest(options: Options, fingerprint: RunFingerprint, settings: ReviewSettings) -> Manifest:
    """Make the manifest of the review table; its limit and what was edited decide the table, not the records."""
    unlimited = fingerprint.settings("review", {"below": None})
    own = settings.below is not None or settings.edited or settings.audit
    drawn = [settings.audit] if settings.audit else []
    output = AnnotationOutput(
        "review",
        settings.folder,
        lambda names: ReviewExporter(replace(settings, names=names)),
        options.overwrite,
        records=".review",
        shared=json_hash([unlimited, settings.below, settings.edited, *drawn]) if own else unlimited,
    )
    return ReviewManifest(output, fingerprint.of_images(unlimited), settings)


def _diff_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
    """Make the manifest of the table of differences, where it is asked for."""
    if options.diff is None:
        return []
    folder, low = options.config.auto_mask.save_dir, options.config.auto_mask.low_overlap
    audit = options.config.auto_mask.audit
    # The sample of an audit is drawn from the run's own objects.
    before = options.annotations is not None and not audit
    references = find_references(options.diff, options.config, images.ids, overwrite=options.overwrite, before=before)
    settings = fingerprint.settings("diff", references.settings(low, audit))
    output = AnnotationOutput(
        "diff",
        folder,
        lambda names: DiffExporter(names, references, low, audit),
        options.overwrite,
        records=".diff",
        shared=json_hash([settings, audit]) if audit else settings,
    )
    return [Manifest(output, fingerprint.of_images(settings, references.content_hash, references.path))]


def _is_apart(options: Options, name: str) -> bool:
    """Return whether a format's folder is another one than that of the annotations that are read."""
    folder = format_folder(options.config.auto_mask.save_dir, name)
    return options.annotations is None or os.path.realpath(folder) != os.path.realpath(options.annotations)


def _format_manifest(name: str, options: Options, fingerprint: RunFingerprint, splits: Mapping[str, str]) -> Manifest:
    """Make the manifest of a format; UserError if its files would be written among the annotations that are read."""
    auto_mask, split, form = options.config.auto_mask, options.config.dataset.split, FORMATS[name]
    folder = format_folder(auto_mask.save_dir, name)
    if not _is_apart(options, name):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    # Another limit changes flags without the models, so it is no part of the hash; its key stays there as None, so that
    # the hashes of earlier versions hold.
    own = {key: None if key == "review_below" else getattr(auto_mask, key) for key in form.settings}
    settings = fingerprint.settings(name, own)
    details = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below, auto_mask.save_dir
    shared = [settings, split, *([list(splits.items())] if splits else [])]
    output = AnnotationOutput(
        name,
        folder,
        lambda names: form.exporter(ExportSettings(folder, names, split, *details, splits)),
        options.overwrite,
        files=form.files,
        photo=form.photo,
        copy=auto_mask.copy_images,
        root=auto_mask.save_dir,
        shared=None if form.is_labelme else json_hash(shared),
        keep_others=form.keeps_other_splits and not splits,
    )
    if form.is_labelme:
        return LabelmeManifest(output, fingerprint.of_images(settings), auto_mask.review_below)
    return Manifest(output, fingerprint.of_images(settings))
