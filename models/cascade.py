"""Detector boxes become SAM2 prompts, SAM2 masks become instances with a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from models.attribution import AttributingCascade
from models.cleanup import with_cleanup
from models.weights import fetch_weights, yolo_weights
from utils.annotations.source import AnnotationCascade, AnnotationFolder
from utils.cli.options import Options
from utils.config import ArchConfig
from utils.distributed import Session
from utils.engine import Cascade, SureCascade
from utils.errors import UserError
from utils.metrics.attribution import Attribution
from utils.official import OFFICIAL_SAM
from utils.prompts.prompts import Prompts
from utils.prompts.table import RunImages
from utils.structures import Instances, Sample

if TYPE_CHECKING:
    import torch

    from models.box_sources import Detector
    from models.segmenter import Segmenter
    from models.transfer import AsyncInstances


class ImageCascade:
    """Instances of single images.

    Args:
        detector: finds boxes and names them.
        segmenter: gives each box its mask.
    """

    def __init__(self, detector: Detector, segmenter: Segmenter) -> None:
        from models.oom_retry import OomRetry

        self.detector, self.segmenter = detector, segmenter
        self._oom_retry = OomRetry(segmenter.free_memory)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each image of a batch, in order, found in one detector and one segmenter call.

        A GPU begins at once, and works on while the host does something else; a CPU begins when the first are taken.
        """
        on_cpu = self.segmenter.device.type == "cpu"
        return self._collected(samples, None if on_cpu else self._launch(samples))

    def summary_lines(self, session: Session) -> list[str]:
        """What the detector and the segmenter have to say at the end of a run."""
        return [
            *self.detector.summary_lines(session),
            *self.segmenter.summary_lines(),
            *self._oom_retry.summary_lines(session),
        ]

    def _launch(self, samples: Sequence[Sample]) -> list[AsyncInstances]:
        """The instances of consecutive parts of a batch, on their way."""
        images = [sample.image for sample in samples]
        parts = self._oom_retry(len(samples), lambda part: self.detector(samples[part]))
        detections = [found for part in parts for found in part]
        return self._oom_retry(len(samples), lambda part: self.segmenter.launch(images[part], detections[part]))

    def _collected(
        self, samples: Sequence[Sample], launched: list[AsyncInstances] | None
    ) -> Iterator[tuple[Sample, Instances]]:
        parts = self._launch(samples) if launched is None else launched
        yield from zip(samples, chain.from_iterable(map(self.segmenter.collect, parts)))


def build_cascade(
    options: Options,
    names: Sequence[str],
    images: RunImages,
    prompts: Prompts | None,
    session: Session,
    attribution: Attribution | None = None,
) -> Cascade:
    """The cascade that the options ask for.

    Args:
        names: class names, indexed by class id.
        images: those of the run.
        prompts: the boxes that take the place of the detector's, or None.
        session: the processes of the run, each of which has a cascade of its own.
        attribution: counts what became of found and true boxes, or None.

    Raises:
        UserError: weights, a SAM2 config, the device or the precision cannot be used.
    """
    if options.annotations is not None:
        return AnnotationCascade(AnnotationFolder(options.annotations, names))
    from models.detector import build_detector
    from utils.device import choose_device

    device = choose_device(options.device, session)
    detector = build_detector(options, device, names, prompts)
    segmenter = build_segmenter(options, device, len(images.ids), session)
    found: SureCascade = ImageCascade(detector, segmenter)
    if options.video:
        from models.sam2_video import Propagator
        from models.video_cascade import VideoCascade

        settings = options.config.video
        propagator = Propagator(segmenter.model, segmenter.precision, non_overlap=settings.non_overlap_masks)
        found = VideoCascade(detector, segmenter, propagator, settings, prompts)
    cascade = with_cleanup(found, options.config.cleanup)
    return cascade if attribution is None else AttributingCascade(cascade, attribution)


def build_segmenter(options: Options, device: torch.device, num_images: int, session: Session) -> Segmenter:
    """The segmenter that the options ask for; compiled, if they say so or, on a GPU, for a long run of single images.

    Args:
        num_images: how many images the whole run has.

    Raises:
        UserError: weights, a SAM2 config or the precision cannot be used, or SAM2 cannot be compiled, but shall.
    """
    from models.sam2_build import load_sam2
    from models.sam2_forward import cache_pos_embed
    from models.segmenter import LONG_RUN, Segmenter
    from utils.device import choose_precision

    config = options.config
    settings, precision = config.segmenter, choose_precision(config.segmenter.precision, device)
    model = load_sam2(*sam_files(config.arch), device, trust=options.trust_weights, video=options.video)
    cache_pos_embed(model)
    segmenter = Segmenter(model, precision, settings.chunk_mb * 2**20)
    pays = device.type == "cuda" and num_images >= LONG_RUN and not options.video
    if settings.compile == "on" or (settings.compile == "auto" and pays):
        try:
            line = f"compiled SAM2 in {segmenter.compile(config.dataloader.batch_size):.0f} s"
        except UserError as error:
            if settings.compile == "on":
                raise
            line = f"{error}; going on without"
        if session.is_main:
            print(line)
    return segmenter


def prepare_weights(options: Options, session: Session) -> None:
    """Sees to it that the weight files of a run are there, whose content its fingerprint needs; a dry run only looks.

    A run from annotations needs none.

    Raises:
        UserError: one is not set, or missing and not official or not to be had.
    """
    if options.annotations is not None:
        return
    config = options.config
    needed = [sam_files(config.arch)[1]]
    if options.runs_detector or config.dataset.classes is None:
        needed.append(yolo_weights(config.arch))
    fetch_weights(needed, session, download=not options.dry_run)


def sam_files(arch: ArchConfig) -> tuple[str, Path]:
    """SAM2's config and weights.

    Raises:
        UserError: one of them is not set.
    """
    if arch.sam_weights is None:
        raise UserError("arch.sam_weights: not set; name a checkpoint, or an official one: " + ", ".join(OFFICIAL_SAM))
    return sam_config_of(arch), arch.sam_weights


def sam_config_of(arch: ArchConfig) -> str:
    """`arch.sam_architecture`; UserError where none is set, and the name of the weights is not official."""
    if arch.sam_architecture is None:
        raise UserError(f"arch.sam_config: not set, and {arch.sam_weights} has no official name that would tell it")
    return arch.sam_architecture
