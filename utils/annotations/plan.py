"""The outputs of an annotating run, and which images are to be worked on for them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from utils.annotations.diff import DiffExporter, find_references
from utils.annotations.fingerprint import RunFingerprint, json_hash
from utils.annotations.manifest import FileStatus, LabelmeManifest, Manifest
from utils.annotations.review import ReviewExporter
from utils.annotations.sink import AnnotationSink
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, RunImages, Sink
from utils.errors import UserError, refuse
from utils.formats.base import FRAME_SUFFIX, ExportSettings
from utils.formats.frames import JPEG_QUALITY, FrameExporter
from utils.formats.registry import FORMATS, format_folder
from utils.io.image_files import is_video_name
from utils.io.terminal import say
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample
from utils.visual.overlay import overlay_path


class AnnotationPlan:
    """Decide what there is to do; without `annotate` among the outputs that is every image.

    Args:
        options: of the run.
        images: of the run, in all its units.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which has the same plan: none writes before all have looked.

    Attributes:
        units: those of `images` to be worked on, before sharding; if the run only annotates, without those of which
            every image is finished.
        nothing_to_do: whether every file is written, or none is to be.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, write frames
            of videos among the clips, or overlays over them.
    """

    def __init__(self, options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> None:
        self._options, self._ids = options, images.ids
        self._manifests = _manifests(options, images, prompts) if "annotate" in options.outputs else []
        for manifest in self._manifests:
            manifest.scan(images.ids, images.paths, session)
        only = options.outputs == ("annotate",)
        self._needed = {image_id for image_id in self._ids if not only or self._is_unfinished(image_id)}
        self.units = [unit for unit in images.units if any(self._ids[i] in self._needed for i in unit)]
        if options.video:  # what lies before a frame decides its tracks
            self._needed = {self._ids[i] for unit in self.units for i in unit}
        done = only and not self.units and all(each.is_assembled(self._ids) for each in self._manifests)
        self.nothing_to_do = options.dry_run or session.gather([done])[0]

    def lines(self) -> list[str]:
        """Say for each format with something there what becomes of how many images; in a dry run for all outputs."""
        counted = [(manifest, Counter(manifest.statuses.values())) for manifest in self._manifests]
        return [
            f"{manifest.name}: {self._status_text(counts)}; {manifest.folder}"
            for manifest, counts in counted
            if self._options.dry_run or (manifest.name in FORMATS and {*counts} != {FileStatus.NEW})
        ]

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """Make the sinks of all outputs.

        Args:
            names: class names, indexed by class id.
        """
        return [AnnotationSink(manifest, names, writers, self._ids) for manifest in self._manifests]

    def skip_finished(self, cascade: Cascade) -> Cascade:
        """Wrap a cascade: it skips batches of which only images that cannot be read are unfinished."""
        return _SkipFinished(cascade, self._needed)

    def _is_unfinished(self, image_id: str) -> bool:
        """Return whether files of an image are to be written in any output."""
        return any(manifest.is_to_write(manifest.statuses[image_id]) for manifest in self._manifests)

    def _status_text(self, counts: Counter[FileStatus]) -> str:
        texts = {
            FileStatus.NEW: "to write",
            FileStatus.OUTDATED: "to write again, made with other settings or from another image",
            FileStatus.DONE: "done",
            FileStatus.EDITED: "edited, to be replaced" if self._options.overwrite else "edited and kept",
        }
        return ", ".join(f"{counts[status]} {text}" for status, text in texts.items() if counts[status])


class _SkipFinished:
    """A cascade that passes over batches without an image that is needed."""

    def __init__(self, cascade: Cascade, needed: Collection[str]) -> None:
        self._cascade, self._needed = cascade, needed

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        needed = any(sample.image_id in self._needed for sample in samples)
        return self._cascade(samples) if needed else iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return self._cascade.summary_lines(session)


def plan_annotations(options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """Make the plan of a run; the first process prints it. See AnnotationPlan."""
    plan = AnnotationPlan(options, images, prompts, session)
    say(plan.lines())
    return plan


def _manifests(options: Options, images: RunImages, prompts: Prompts | None) -> list[Manifest]:
    """Make the manifests of all outputs of a run: frames of videos, formats, tables."""
    auto_mask, formats = options.config.auto_mask, list(dict.fromkeys(options.config.auto_mask.formats))
    below, low = auto_mask.review_below, auto_mask.low_overlap
    clips = [[(images.ids[i], images.paths[i]) for i in unit] for unit in images.units] if options.video else []
    fingerprint = RunFingerprint(options, prompts, clips)
    manifests = [_format(name, options, fingerprint) for name in formats]
    table = partial(Manifest, folder=auto_mask.save_dir, overwrite=options.overwrite)
    if filmed := {image_id for image_id, path in zip(images.ids, images.paths) if is_video_name(path.name)}:
        _check_apart_from_sources(options)
        _check_overlays(options, images.ids, filmed, formats)
        if not all(FORMATS[name].photo for name in formats):  # frames depend on nothing but their video
            frames = table(
                "frames",
                sign=lambda image_id, image: json_hash(["frames", JPEG_QUALITY, fingerprint.signature(image)]),
                exporter=lambda names: FrameExporter(),
                files=lambda image_id: [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else [],
                photo=lambda image_id: image_id,
                records=".frames",
            )
            manifests.insert(0, frames)
    settings = fingerprint.settings("review", {"below": below})
    review = partial(table, "review", records=".review", shared=settings)
    manifests.append(review(sign=fingerprint.signer(settings), exporter=lambda names: ReviewExporter(names, below)))
    if options.diff is not None:
        references = find_references(options.diff, auto_mask.save_dir, images.ids, options.overwrite)
        settings = fingerprint.settings("diff", {"low": low})
        sign = fingerprint.signer(settings, references.content_hash)
        diff = partial(table, "diff", records=".diff", shared=settings)
        manifests.append(diff(sign=sign, exporter=lambda names: DiffExporter(names, references, low)))
    return manifests


def _format(name: str, options: Options, fingerprint: RunFingerprint) -> Manifest:
    """Make the manifest of a format; UserError if its files would be written among the annotations that are read."""
    auto_mask, split, form = options.config.auto_mask, options.config.dataset.split, FORMATS[name]
    folder = format_folder(auto_mask.save_dir, name)
    if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    settings = fingerprint.settings(name, {key: getattr(auto_mask, key) for key in form.settings})
    details = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below, auto_mask.save_dir
    kind = LabelmeManifest if form.is_labelme else Manifest
    return kind(
        name,
        folder,
        fingerprint.signer(settings),
        lambda names: form.exporter(ExportSettings(folder, names, split, *details)),
        files=form.files,
        photo=form.photo,
        frames=auto_mask.save_dir,
        shared=None if form.is_labelme else json_hash([settings, split]),
        overwrite=options.overwrite,
    )


def _check_apart_from_sources(options: Options) -> None:
    """Raise UserError where frames of videos would be written among the clips."""
    folder = options.config.auto_mask.save_dir
    for source in map(os.path.realpath, options.source):
        if Path(os.path.realpath(folder)).is_relative_to(source):
            advice = f"for the next run, the frames of videos there would be further clips of {source}"
            raise UserError(f"auto_mask.save_dir: {folder}: {advice}; choose a folder outside it")


def _check_overlays(
    options: Options, image_ids: Sequence[str], filmed: Collection[str], formats: Sequence[str]
) -> None:
    """Raise UserError where overlays would take the place of frames of videos."""
    if "visual" not in options.outputs:
        return
    predictor, folder = options.config.predictor, Path(os.path.realpath(options.config.auto_mask.save_dir))
    frames = set()
    for name in formats:
        photo, below = FORMATS[name].photo, format_folder(folder, name)
        stems = [below / photo(image_id) if photo else folder / image_id for image_id in filmed]
        frames |= {f"{stem}{FRAME_SUFFIX}" for stem in stems}
    real = Path(os.path.realpath(predictor.save_dir))
    overlays = [str(overlay_path(real, image_id, predictor.format)) for image_id in image_ids]
    reason = "overlays there would replace the frames of videos that annotating writes; choose another folder"
    refuse(f"predictor.save_dir: {predictor.save_dir}: {reason}:", [place for place in overlays if place in frames])
