"""What a run writes for each output: its formats, the frames of videos, the review table, the table of differences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from utils.annotations.diff import DiffExporter, find_references
from utils.annotations.fingerprint import ImageFingerprint, RunFingerprint, file_times, json_hash
from utils.annotations.labelme_manifest import LabelmeManifest
from utils.annotations.manifest import Manifest
from utils.annotations.records import AnnotationOutput, FileStatus
from utils.annotations.review import ReviewExporter, ReviewManifest, ReviewSettings
from utils.cli.options import Options
from utils.engine import RunImages
from utils.errors import UserError
from utils.formats.base import FRAME_SUFFIX, JPEG_QUALITY, ExportSettings, FrameExporter, photo_path
from utils.formats.labelme_reader import POLYGONS
from utils.formats.registry import FORMATS, format_folder
from utils.io.image_files import is_video_name

MAX_SOURCES = 3
"""Sources for which the command that opens them is printed."""


def frame_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
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
        lambda image_id, image, _: image.encode("utf-8", "surrogateescape") + file_times(image),
    )
    return [Manifest(output, of_video)]


def _filmed(options: Options, images: RunImages) -> set[str]:
    """Return the images that are frames of video files."""
    every = zip(images.ids, images.paths) if options.video else ()
    return {image_id for image_id, path in every if is_video_name(path.name)}


def review_manifest(
    options: Options, images: RunImages, fingerprint: RunFingerprint, formats: Sequence[Manifest]
) -> ReviewManifest:
    """Make the manifest of the review table; the limit, edits and an audit decide the table, but not its records."""
    auto_mask, root = options.config.auto_mask, options.config.dataset.data_dir
    folder, below, audit = auto_mask.save_dir, auto_mask.review_below, auto_mask.audit

    @cache
    def edited() -> frozenset[str]:
        kept = () if options.overwrite else formats
        return frozenset(image_id for manifest in kept for image_id in manifest.ids_of(FileStatus.EDITED))

    def photos() -> Iterator[tuple[str, Path]]:
        return ((image_id, photo_path(image_id, path, folder)) for image_id, path in zip(images.ids, images.paths))

    labelme = [name for name in auto_mask.formats if FORMATS[name].is_labelme]
    # Polygons are corrected rather than masks, which have no points to drag.
    corrected = format_folder(folder, POLYGONS if POLYGONS in labelme else labelme[0]) if labelme else None
    sources = [folder] if _filmed(options, images) else [*options.source] or ([root / "JPEGImages"] if root else [])
    settings = ReviewSettings(
        folder,
        names=(),  # they follow with the exporter
        below=below,
        edited=edited,
        photos=photos,
        nested=any("/" in image_id for image_id in images.ids),
        labelme=corrected,
        sources=sources[:MAX_SOURCES],
        audit=audit,
    )
    of_records = fingerprint.settings("review", {"below": None})  # a key of earlier versions, so that their hashes hold

    def of_table() -> str:
        is_plain = below is None and not edited() and not audit
        return of_records if is_plain else json_hash([of_records, below, sorted(edited()), *([audit] if audit else [])])

    output = AnnotationOutput(
        "review",
        folder,
        lambda names: ReviewExporter(replace(settings, names=names)),
        options.overwrite,
        records=".review",
        shared_settings=of_table,
    )
    return ReviewManifest(output, fingerprint.of_images(of_records), settings)


def diff_manifests(options: Options, images: RunImages, fingerprint: RunFingerprint) -> list[Manifest]:
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
        shared_settings=lambda: json_hash([settings, audit]) if audit else settings,
    )
    return [Manifest(output, fingerprint.of_images(settings, references.content_hash, references.path))]


def is_apart(options: Options, name: str) -> bool:
    """Return whether a format's folder is another one than that of the annotations that are read."""
    folder = format_folder(options.config.auto_mask.save_dir, name)
    return options.annotations is None or os.path.realpath(folder) != os.path.realpath(options.annotations)


def format_manifest(name: str, options: Options, fingerprint: RunFingerprint, splits: Mapping[str, str]) -> Manifest:
    """Make the manifest of a format; UserError if its files would be written among the annotations that are read."""
    auto_mask, split, form = options.config.auto_mask, options.config.dataset.split, FORMATS[name]
    folder = format_folder(auto_mask.save_dir, name)
    if not is_apart(options, name):
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
        shared_settings=None if form.is_labelme else lambda: json_hash(shared),
        keep_others=form.keeps_other_splits and not splits,
    )
    if form.is_labelme:
        return LabelmeManifest(output, fingerprint.of_images(settings), auto_mask.review_below)
    return Manifest(output, fingerprint.of_images(settings))
