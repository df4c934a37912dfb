"""The outputs of an annotating run, and which images are to be worked on for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
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
from utils.annotations.records import FileStatus
from utils.annotations.review import ReviewExporter, ReviewManifest, ReviewSettings, open_lines
from utils.annotations.sink import AnnotationSink
from utils.annotations.splits import assign_splits, split_lines
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, RunImages, Sink
from utils.errors import UserError
from utils.formats.base import FRAME_SUFFIX, JPEG_QUALITY, ExportSettings, FrameExporter, photo_path
from utils.formats.registry import FORMATS, format_folder
from utils.io.image_files import is_video_name
from utils.io.terminal import counted, say, warn
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample

MAX_SOURCES = 3
"""Sources for which the command that opens them is printed."""


class AnnotationPlan:
    """Decide what there is to do; without `annotate` among the outputs that is every image.

    Args:
        options: of the run.
        images: of the run, in all its units.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which has the same plan: none writes before all have looked.

    Attributes:
        units: those of `images` to be worked on, not yet divided among the processes; if the run only annotates,
            without those of which every image is finished.
        nothing_to_do: whether all files are up to date, or the run is a dry one.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, or write
            frames of videos among the clips.
    """

    def __init__(self, options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> None:
        self._options, self._ids = options, images.ids
        # Of a shard only its own images are looked at.
        self._part = None if options.shard is None else [i for unit in options.own_units(images.units) for i in unit]
        self._shard = "" if options.shard is None else "-{}-of-{}".format(*options.shard)
        self._manifests: list[Manifest] = []
        self._split_lines: list[str] = []
        self._orphans: dict[str, bool] = {}
        self._prunable: list[Manifest] = []
        if "annotate" in options.outputs:
            self._prepare(images, RunFingerprint(options, prompts, _clips(options, images)), session)
        only = options.outputs == ("annotate",)
        needed = self._to_write() if only else np.ones(len(self._ids), bool)
        self.units = [unit for unit in options.own_units(images.units) if needed[unit.start : unit.stop].any()]
        # Finished images of these units. Those of clips are worked on again: tracks go through every frame before.
        skips = not options.video and not needed.all()
        self._done = {self._ids[i] for unit in self.units for i in unit if not needed[i]} if skips else set()
        whole = options.shard is None and not options.merge
        done = whole and only and not self.units and all(each.is_assembled(self._ids) for each in self._manifests)
        self.nothing_to_do = options.dry_run or session.gather([done])[0]
        for index in (manifest.index for manifest in self._manifests if not options.dry_run):
            if index is not None:
                index.save()

    def _prepare(self, images: RunImages, fingerprint: RunFingerprint, session: Session) -> None:
        """Make the manifests of all outputs and look at what is there, also at what has no photo any more."""
        options, splits = self._options, assign_splits(self._options, images)
        manifest_of = partial(_format_manifest, options=options, fingerprint=fingerprint, splits=splits)
        formats = {name: manifest_of(name) for name in dict.fromkeys(options.config.auto_mask.formats)}
        frames = _frame_manifests(options, images, fingerprint)
        self._manifests = [*frames, *formats.values()]
        for manifest in self._manifests:
            manifest.scan(images.ids, images.paths, session, self._part, self._shard)
        if session.is_main:
            warn(unused_edits(formats, images))
        edited = {image_id for manifest in formats.values() for image_id in manifest.ids_of(FileStatus.EDITED)}
        self._review = _review_settings(options, images, [] if options.overwrite else sorted(edited))
        tables = [_review_manifest(options, fingerprint, self._review), *_diff_manifests(options, images, fingerprint)]
        for manifest in tables:
            manifest.scan(images.ids, images.paths, session, self._part, self._shard)
        self._manifests += tables
        if not all(FORMATS[name].is_labelme for name in formats):
            self._split_lines = split_lines(splits, options)
        if session.is_main and options.shard is None:
            self._orphans = find_orphans(options.config.auto_mask.save_dir, images)
            others = [manifest_of(name) for name in FORMATS if name not in formats and _is_apart(options, name)]
            self._prunable = [*frames, *formats.values(), *others, *reversed(tables)]

    def prune_orphans(self) -> None:
        """Remove the annotations without photo if the options say so; print how many there are.

        Call this after the last check that may refuse the run, since nothing brings removed files back.
        """
        line = f"{counted(len(self._orphans), 'annotation')} without photo"
        if any(self._orphans.values()):
            line += ", or of photos that have another id now"
        if self._orphans and self._options.prune and not self._options.dry_run:
            kept = prune(self._orphans, self._prunable)
            removed = f"{len(self._orphans) - len(kept)} removed"
            say([f"{line}: {removed}{f', {len(kept)} edited and kept' if kept else ''}"])
        elif self._orphans:
            say([f"{line}, such as {next(iter(self._orphans))}; --prune removes those that no person edited"])

    def lines(self) -> list[str]:
        """Say for each format with something there what becomes of how many images; in a dry run for all outputs."""
        counts_of = [(manifest, self._counts(manifest)) for manifest in self._manifests]
        statuses = [
            f"{manifest.name}: {self._status_text(counts)}; {manifest.folder}"
            for manifest, counts in counts_of
            if self._options.dry_run or (manifest.name in FORMATS and sum(counts.values()) > counts[FileStatus.NEW])
        ]
        opened = open_lines(self._review, False) if self.nothing_to_do and not self._options.dry_run else []
        return [*statuses, *self._split_lines, *opened]

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """Make the sinks of all outputs.

        Args:
            names: class names, indexed by class id.
        """
        return [AnnotationSink(manifest, names, writers, self._ids) for manifest in self._manifests]

    def skip_finished(self, cascade: Cascade) -> Cascade:
        """Wrap a cascade: it skips batches of which all images are finished.

        `units` has no such batch; but where the unfinished images of a batch cannot be read, the others come alone.
        """
        return _SkipFinished(cascade, self._done)

    def unfinished(self) -> list[int]:
        """Return the positions of the images that have no file or an outdated one, in any output."""
        unfinished = np.zeros(len(self._ids), bool)
        for manifest in self._manifests:
            unfinished |= np.isin(manifest.statuses, (FileStatus.NEW, FileStatus.OUTDATED))
        return [*map(int, np.flatnonzero(unfinished))]

    def _to_write(self) -> npt.NDArray[np.bool_]:
        """Return (images,) bool: whether files of an image are to be written in any output."""
        to_write = np.zeros(len(self._ids), bool)
        for manifest in self._manifests:
            by_status = np.array([manifest.is_to_write(status) for status in FileStatus])
            to_write |= by_status[manifest.statuses]
        return to_write

    def _counts(self, manifest: Manifest) -> dict[FileStatus, int]:
        """Count the images of each status; of a shard its own."""
        statuses = manifest.statuses if self._part is None else manifest.statuses[self._part]
        return dict(zip(FileStatus, np.bincount(statuses, minlength=len(FileStatus)).tolist()))

    def _status_text(self, counts: Mapping[FileStatus, int]) -> str:
        texts = {
            FileStatus.NEW: "to write",
            FileStatus.OUTDATED: "to write again, made with other settings or from another image",
            FileStatus.DONE: "done",
            FileStatus.REFRESH: "done, to be brought up to date without the models",
            FileStatus.EDITED: "edited, to be replaced" if self._options.overwrite else "edited and kept",
        }
        return ", ".join(f"{counts[status]} {text}" for status, text in texts.items() if counts[status])


class NoCascade:
    """Find nothing, in runs that need no model: only shared files, flags or links are brought up to date."""

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        return iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return []


class _SkipFinished:
    """Pass over batches of which all images are done; see `AnnotationPlan.skip_finished`."""

    def __init__(self, cascade: Cascade, done: Collection[str]) -> None:
        self._cascade, self._done = cascade, done

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        needed = any(sample.image_id not in self._done for sample in samples)
        return self._cascade(samples) if needed else iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return self._cascade.summary_lines(session)


def _clips(options: Options, images: RunImages) -> list[list[tuple[str, Path]]]:
    """List id and file of each frame of each clip; empty without `--video`."""
    return [[(images.ids[i], images.paths[i]) for i in unit] for unit in images.units] if options.video else []


def _frame_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
    """Make the manifest of the frames of videos, where there are any and a format names them."""
    auto_mask = options.config.auto_mask
    filmed = _filmed(options, images)
    if not filmed:
        return []
    _check_apart_from_sources(options)
    if all(FORMATS[name].photo for name in auto_mask.formats):
        return []
    manifest = Manifest(
        "frames",
        auto_mask.save_dir,
        ImageFingerprint(  # frames depend on nothing but their video
            lambda image_id, image: json_hash(["frames", JPEG_QUALITY, fingerprint.signature(image)]),
            lambda image_id, image: image.encode("utf-8", "surrogateescape") + file_times(image),
        ),
        lambda names: FrameExporter(),
        files=lambda image_id: [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else [],
        photo=lambda image_id: image_id,
        records=".frames",
        overwrite=options.overwrite,
    )
    return [manifest]


def _filmed(options: Options, images: RunImages) -> set[str]:
    """Return the images that are frames of video files."""
    every = zip(images.ids, images.paths) if options.video else ()
    return {image_id for image_id, path in every if is_video_name(path.name)}


def _review_settings(options: Options, images: RunImages, edited: Sequence[str]) -> ReviewSettings:
    """Collect what the review table needs of a run."""
    folder, below = options.config.auto_mask.save_dir, options.config.auto_mask.review_below

    def photos() -> Iterator[tuple[str, Path]]:
        return ((image_id, photo_path(image_id, path, folder)) for image_id, path in zip(images.ids, images.paths))

    # For correcting, polygons come before masks, which have no points to drag.
    labelme = sorted((name for name in options.config.auto_mask.formats if FORMATS[name].is_labelme), reverse=True)
    root = options.config.dataset.data_dir
    sources = [folder] if _filmed(options, images) else [*options.source] or ([root / "JPEGImages"] if root else [])
    corrected = format_folder(folder, labelme[0]) if labelme else None
    nested, audit = any("/" in image_id for image_id in images.ids), options.config.auto_mask.audit
    shown = sources[:MAX_SOURCES]
    return ReviewSettings(folder, (), below, edited, photos, nested, corrected, shown, audit)


def _review_manifest(options: Options, fingerprint: RunFingerprint, settings: ReviewSettings) -> Manifest:
    """Make the manifest of the review table; its limit and what was edited decide the table, not the records."""
    unlimited = fingerprint.settings("review", {"below": None})
    own = settings.below is not None or settings.edited or settings.audit
    drawn = [settings.audit] if settings.audit else []
    return ReviewManifest(
        settings,
        "review",
        settings.folder,
        fingerprint.of_images(unlimited),
        lambda names: ReviewExporter(replace(settings, names=names)),
        records=".review",
        shared=json_hash([unlimited, settings.below, settings.edited, *drawn]) if own else unlimited,
        overwrite=options.overwrite,
    )


def _diff_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
    """Make the manifest of the table of differences, where it is asked for."""
    if options.diff is None:
        return []
    folder, low = options.config.auto_mask.save_dir, options.config.auto_mask.low_overlap
    audit = options.config.auto_mask.audit
    before = options.annotations is not None and not audit  # whose sample is of the run's own objects
    references = find_references(options.diff, options.config, images.ids, overwrite=options.overwrite, before=before)
    settings = fingerprint.settings("diff", references.settings(low, audit))
    manifest = Manifest(
        "diff",
        folder,
        fingerprint.of_images(settings, references.content_hash, references.path),
        lambda names: DiffExporter(names, references, low, audit),
        records=".diff",
        shared=json_hash([settings, audit]) if audit else settings,
        overwrite=options.overwrite,
    )
    return [manifest]


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
    # Flags follow another limit without the models; the key stays, so that files of earlier versions are known.
    own = {key: None if key == "review_below" else getattr(auto_mask, key) for key in form.settings}
    settings = fingerprint.settings(name, own)
    details = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below, auto_mask.save_dir
    make = partial(LabelmeManifest, review_below=auto_mask.review_below) if form.is_labelme else Manifest
    shared = [settings, split, *([list(splits.items())] if splits else [])]
    return make(
        name,
        folder,
        fingerprint.of_images(settings),
        lambda names: form.exporter(ExportSettings(folder, names, split, *details, splits)),
        files=form.files,
        photo=form.photo,
        frames=auto_mask.save_dir,
        shared=None if form.is_labelme else json_hash(shared),
        keep_others=form.keeps_other_splits and not splits,
        copy=auto_mask.copy_images,
        overwrite=options.overwrite,
    )


def _check_apart_from_sources(options: Options) -> None:
    """Raise UserError where frames of videos would be written among the clips."""
    folder = options.config.auto_mask.save_dir
    for source in map(os.path.realpath, options.source):
        if Path(os.path.realpath(folder)).is_relative_to(source):
            advice = f"for the next run, the frames of videos there would be further clips of {source}"
            raise UserError(f"auto_mask.save_dir: {folder}: {advice}; choose a folder outside it")
