"""The outputs of an annotating run, and which images are to be worked on for them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from utils.annotations.diff import DiffExporter, References
from utils.annotations.fingerprint import RunFingerprint, json_hash
from utils.annotations.manifest import FileStatus, LabelmeManifest, Manifest
from utils.annotations.review import ReviewExporter
from utils.annotations.sink import AnnotationSink
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, Sink, print_lines
from utils.errors import UserError, refuse
from utils.formats.base import FRAME_SUFFIX, Exporter, ExportSettings
from utils.formats.frames import JPEG_QUALITY, FrameExporter
from utils.formats.registry import FORMATS, format_folder
from utils.io.image_files import is_video_name
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample
from utils.visual.overlay import overlay_path


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

    def __init__(self, options: Options, images: Images, prompts: Prompts | None, session: Session) -> None:
        self._options, self._ids = options, images.ids
        self._references = _references(options)
        self._manifests = self._build_manifests(images, prompts) if "annotate" in options.outputs else []
        self._statuses = [_statuses(manifest, images, session) for manifest in self._manifests]
        only = options.outputs == ("annotate",)
        self._needed = {image_id for i, image_id in enumerate(self._ids) if not only or self._is_unfinished(i)}
        self.units = [unit for unit in images.units if any(self._ids[i] in self._needed for i in unit)]
        if options.video:  # what lies before a frame decides its tracks
            self._needed = {self._ids[i] for unit in self.units for i in unit}
        done = only and not self.units and all(manifest.is_assembled(self._ids) for manifest in self._manifests)
        self.nothing_to_do = options.dry_run or session.gather([done])[0]

    def lines(self) -> list[str]:
        """Say for each format with something there what becomes of how many images; in a dry run for all outputs."""
        counted = [(manifest, Counter(statuses)) for manifest, statuses in zip(self._manifests, self._statuses)]
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
        sinks: list[Sink] = []
        for manifest, statuses in zip(self._manifests, self._statuses):
            edited = [image_id for image_id, status in zip(self._ids, statuses) if status is FileStatus.EDITED]
            exporter = self._exporter(manifest, names)
            sinks.append(AnnotationSink(exporter, manifest, writers, self._ids, edited))
        return sinks

    def skip_finished(self, cascade: Cascade) -> Cascade:
        """Wrap a cascade: it skips batches of which only images that cannot be read are unfinished."""
        return _SkipFinished(cascade, self._needed)

    def _build_manifests(self, images: Images, prompts: Prompts | None) -> list[Manifest]:
        """Make the manifests of all outputs: frames of videos, formats, tables."""
        auto_mask = self._options.config.auto_mask
        clips = [[(images.ids[i], images.paths[i]) for i in unit] for unit in images.units]
        fingerprint = RunFingerprint(self._options, prompts, clips if self._options.video else [])
        formats = list(dict.fromkeys(auto_mask.formats))
        manifests = [self._format(name, fingerprint) for name in formats]
        if filmed := {image_id for image_id, path in zip(images.ids, images.paths) if is_video_name(path.name)}:
            _check_apart_from_sources(self._options)
            _check_overlays(self._options, images.ids, filmed, formats)
            if not all(FORMATS[name].photo for name in formats):
                manifests.insert(0, self._frames(filmed, fingerprint))
        manifests.append(self._table("review", {"below": auto_mask.review_below}, fingerprint))
        if self._references:
            self._references.check(images.ids)
            manifests.append(self._table("diff", {"low": auto_mask.low_overlap}, fingerprint))
        return manifests

    def _format(self, name: str, fingerprint: RunFingerprint) -> Manifest:
        options, form = self._options, FORMATS[name]
        auto_mask, split = options.config.auto_mask, options.config.dataset.split
        folder = format_folder(auto_mask.save_dir, name)
        if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
            raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
        settings = fingerprint.settings(name, {key: getattr(auto_mask, key) for key in form.settings})
        sign = fingerprint.signer(settings)
        if form.is_labelme:
            return LabelmeManifest(name, folder, sign, auto_mask.save_dir, overwrite=options.overwrite)
        return Manifest(
            name,
            folder,
            sign,
            files=form.files,
            photo=form.photo,
            shared=json_hash([settings, split]),
            overwrite=options.overwrite,
        )

    def _frames(self, filmed: Collection[str], fingerprint: RunFingerprint) -> Manifest:
        """Make the manifest of the frames of video files; they depend on nothing but the videos."""

        def sign(image_id: str, image: Path) -> str:
            return json_hash(["frames", JPEG_QUALITY, fingerprint.signature(image)])

        def files(image_id: str) -> Sequence[str]:
            return [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else []

        return Manifest(
            "frames",
            self._options.config.auto_mask.save_dir,
            sign,
            files=files,
            photo=lambda image_id: image_id,
            records=".frames",
            overwrite=self._options.overwrite,
        )

    def _table(self, name: str, own: dict[str, float | None], fingerprint: RunFingerprint) -> Manifest:
        """Make the manifest of a table, whose rows are kept in records."""
        settings = fingerprint.settings(name, own)
        mark = [self._references.content_hash] if self._references and name == "diff" else []
        return Manifest(
            name,
            self._options.config.auto_mask.save_dir,
            fingerprint.signer(settings, *mark),
            records=f".{name}",
            shared=settings,
            overwrite=self._options.overwrite,
        )

    def _exporter(self, manifest: Manifest, names: Sequence[str]) -> Exporter:
        auto_mask, split = self._options.config.auto_mask, self._options.config.dataset.split
        if manifest.name == "frames":
            return FrameExporter()
        if manifest.name == "review":
            return ReviewExporter(names, auto_mask.review_below)
        if manifest.name == "diff" and self._references:
            return DiffExporter(names, self._references, auto_mask.low_overlap)
        form = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below
        settings = ExportSettings(manifest.folder, names, split, *form, frames=auto_mask.save_dir)
        return FORMATS[manifest.name].exporter(settings)

    def _is_unfinished(self, index: int) -> bool:
        """Return whether files of an image are to be written in any output."""
        outputs = zip(self._manifests, self._statuses)
        return any(manifest.is_to_write(statuses[index]) for manifest, statuses in outputs)

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


def plan_annotations(options: Options, images: Images, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """Make the plan of a run; the first process prints it. See AnnotationPlan."""
    plan = AnnotationPlan(options, images, prompts, session)
    if session.is_main:
        print_lines(plan.lines())
    return plan


def _statuses(manifest: Manifest, images: Images, session: Session) -> list[FileStatus]:
    """Find the status of each image's files; each process looks at a part of them."""
    every = range(len(images.ids))
    shard = session.shard(every)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda i: manifest.status(images.ids[i], images.paths[i]), shard))
    statuses = dict(session.gather(list(zip(shard, found))))
    return [statuses[i] for i in every]


def _references(options: Options) -> References | None:
    """Find the annotations to compare with; UserError if the run would replace them."""
    if options.diff is None or "annotate" not in options.outputs:
        return None
    own = os.path.realpath(options.diff) == os.path.realpath(options.config.auto_mask.save_dir)
    if own and options.overwrite:
        raise UserError(f"--diff {options.diff}: --overwrite would replace the annotations there that it compares with")
    return References(options.diff, own)


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
