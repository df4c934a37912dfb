"""Detector boxes become SAM2 prompts, SAM2 masks become instances with a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.weights import fetch_weights, yolo_weights
from utils.attribution import AttributingCascade, Attribution
from utils.cleanup import with_cleanup
from utils.config import ArchConfig
from utils.distributed import Session
from utils.engine import Cascade
from utils.errors import UserError
from utils.importers.annotations import AnnotationCascade, AnnotationFolder
from utils.official import OFFICIAL_SAM
from utils.options import Options
from utils.prompts.rows import RunImages
from utils.structures import Instances, Sample

if TYPE_CHECKING:
    from models.given_boxes import Detector
    from models.segmenter import Segmenter


class ImageCascade:
    """Instances of single images.

    Args:
        detector: finds boxes and names them.
        segmenter: gives each box its mask.
    """

    def __init__(self, detector: Detector, segmenter: Segmenter) -> None:
        self.detector, self.segmenter = detector, segmenter

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each image of a batch, in order, found in one detector and one segmenter call."""
        detections = self.detector(samples)
        yield from zip(samples, self.segmenter([sample.image for sample in samples], detections))

    def report(self, session: Session) -> list[str]:
        """What the detector has to say at the end of a run."""
        return self.detector.report(session)


def build_cascade(options: Options, names: Sequence[str], images: RunImages, session: Session) -> Cascade:
    """The cascade that the options ask for.

    Args:
        names: class names, indexed by class id.
        images: those of the run, which a prompt file must know.
        session: the processes of the run, each of which has a cascade of its own.

    Raises:
        UserError: weights, a SAM2 config, the prompt file, the device or the precision cannot be used.
    """
    if options.annotations is not None:
        return AnnotationCascade(AnnotationFolder(options.annotations, names))
    from models.detector import build_detector
    from models.sam2_loading import load_sam2
    from models.segmenter import Segmenter
    from utils.device import choose_device, choose_precision

    arch, settings = options.config.arch, options.config.segmenter
    device = choose_device(options.device, session)
    precision = choose_precision(settings.precision, device)
    detector = build_detector(options, device, names, images, session)
    model = load_sam2(*sam_files(arch), device, trust=options.trust_weights)
    segmenter = Segmenter(model, precision, settings.chunk_mb * 2**20)
    cascade = with_cleanup(ImageCascade(detector, segmenter), options.config.cleanup)
    if not options.attribute:
        return cascade
    return AttributingCascade(cascade, Attribution(len(names)), options.config.evaluator.save_dir)


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
    """SAM2's config; official weights bring their own where none is set.

    Raises:
        UserError: none is set, and the name of the weights is not official.
    """
    official = None if arch.sam_weights is None else OFFICIAL_SAM.get(arch.sam_weights.name)
    config = arch.sam_config or official
    if config is None:
        raise UserError(f"arch.sam_config: not set, and {arch.sam_weights} has no official name that would tell it")
    return config
