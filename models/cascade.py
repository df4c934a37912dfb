"""YOLO's boxes prompt SAM2; its masks, which have no class of their own, get the class of their box."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from models.box_sources import BoxSource, DetectorBoxes, GroundTruthBoxes, PromptFileBoxes
from models.cleanup import with_cleanup
from models.detector import Detector, find_detector
from models.weights import fetch_weights, yolo_weights
from utils.annotations.source import AnnotationCascade, AnnotationFolder
from utils.classes import MAX_CLASSES
from utils.cli.options import Options
from utils.config import ArchConfig, Config, DatasetConfig, load_config
from utils.config.official import OFFICIAL_SAM
from utils.device import choose_device, choose_precision
from utils.distributed import Session
from utils.engine import Cascade, RunImages
from utils.errors import SampleError, UserError
from utils.io.terminal import say, warn
from utils.prompts.prompts import Prompts, load_prompts
from utils.structures import Detections, Instances, Sample

if TYPE_CHECKING:
    import torch

    from models.segmenter import Segmenter
    from models.transfer import AsyncMasks, BoxMasks


Launched: TypeAlias = "tuple[Sequence[Sample], Sequence[Sequence[Detections]], AsyncMasks]"
"""Consecutive images, the sets of boxes of each, and the masks of all sets on their way."""


def label_masks(size: tuple[int, int], detections: Detections, found: BoxMasks) -> Instances:
    """Give each mask the class of the box that prompted it.

    Mask i is SAM2's answer to box i, so box, score, class id and mask share one index. Nothing may be filtered or
    sorted on one side alone before they meet here.

    Args:
        size: (height, width) of the image in pixels.
        detections: the N boxes that prompted SAM2.
        found: the N masks that it answered.
    """
    return Instances(size, detections, found.masks, found.scores)


class ImageCascade:
    """Find the instances of single images.

    Args:
        boxes: gives boxes and their classes.
        segmenter: gives each box its mask.
        gt_boxes: whether SAM2 also segments the boxes of the true instances, as error attribution needs it; the
            samples then carry the result on as `gt_box_instances`. An image is encoded once for both.
    """

    def __init__(self, boxes: BoxSource, segmenter: Segmenter, *, gt_boxes: bool = False) -> None:
        from models.oom_retry import OomRetry

        self.boxes, self.segmenter = boxes, segmenter
        self._gt_boxes = GroundTruthBoxes() if gt_boxes else None
        self._oom_retry = OomRetry(segmenter.free_memory)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """Yield the instances of each image of a batch, in order, found in one detector and one segmenter call.

        A GPU begins at once, and works on while the host does something else; a CPU begins when the first are taken.
        """
        on_cpu = self.segmenter.device.type == "cpu"
        return self._collected(samples, None if on_cpu else self._launch(samples))

    def summary_lines(self, session: Session) -> list[str]:
        """Return what the boxes' source and the segmenter have to say at the end of a run."""
        return [
            *self.boxes.summary_lines(session),
            *self.segmenter.summary_lines(),
            *self._oom_retry.summary_lines(session),
        ]

    def _launch(self, samples: Sequence[Sample]) -> list[Launched]:
        """Start consecutive parts of a batch, as large as memory allows."""
        parts = self._oom_retry(len(samples), lambda part: self.boxes(samples[part]))
        sets = [[found] for part in parts for found in part]
        if self._gt_boxes is not None:
            sets = [[*found, true] for found, true in zip(sets, self._gt_boxes(samples))]
        return self._oom_retry(len(samples), lambda part: self._launch_part(samples[part], sets[part]))

    def _launch_part(self, samples: Sequence[Sample], sets: Sequence[Sequence[Detections]]) -> Launched:
        """Start images, each with one set of boxes or two; the order of the masks is image by image, set by set."""
        boxes = [each.boxes for of_image in sets for each in of_image]
        image_index = [i for i, of_image in enumerate(sets) for _ in of_image]
        return samples, sets, self.segmenter.launch([sample.image for sample in samples], boxes, image_index)

    def _collected(
        self, samples: Sequence[Sample], launched: list[Launched] | None
    ) -> Iterator[tuple[Sample, Instances]]:
        for part, sets, pending in self._launch(samples) if launched is None else launched:
            masks = iter(self.segmenter.collect(pending))
            for sample, of_image in zip(part, sets):
                instances, *of_gt = [label_masks(sample.size, boxes, next(masks)) for boxes in of_image]
                yield (replace(sample, gt_box_instances=of_gt[0]) if of_gt else sample), instances


class RunModels:
    """The models of a run: each is loaded when it is first needed, and once.

    Weights are fetched and the prompt file is read at once: what they say decides what there is to do.

    Args:
        options: of the run.
        images: of the run.
        session: the processes of the run, each of which has models of its own.

    Attributes:
        prompts: the boxes that take the place of the detector's, or None.

    Raises:
        UserError: a weight file is not set, or missing and not to be had; the prompt file cannot be used.
    """

    def __init__(self, options: Options, images: RunImages, session: Session) -> None:
        self._options, self._images, self._session = options, images, session
        if options.annotations is None:
            find_detector(options.config.arch.yolo)  # refuses a wrong name before anything is fetched
            self._fetch_weights()
        self.prompts = None if options.prompt is None else self._read_prompts(options.prompt)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the run, by class id; see `run_class_names`."""
        return run_class_names(self._options.config.dataset, lambda: self.detector.names)

    @cached_property
    def detector(self) -> Detector:
        """The detector of `arch.yolo`; see `load_detector`."""
        return load_detector(self._options.config, self._device, trust=self._options.trust_weights)

    def build_cascade(self) -> Cascade:
        """Build what finds the instances of the run.

        Raises:
            UserError: weights, a SAM2 config, the device or the precision cannot be used.
        """
        options = self._options
        if options.annotations is not None:
            return AnnotationCascade(AnnotationFolder(options.annotations, self.class_names))
        boxes = self._box_source()
        segmenter = build_segmenter(options, self._device, len(self._images.ids))
        if not options.video:
            return with_cleanup(ImageCascade(boxes, segmenter, gt_boxes=options.attribute), options.config.cleanup)
        from models.sam2_video import Propagator
        from models.video_cascade import VideoCascade

        settings = options.config.video
        propagator = Propagator(segmenter.model, segmenter.precision, non_overlap=settings.non_overlap_masks)
        cascade = VideoCascade(boxes, segmenter, propagator, settings, self.prompts)
        return with_cleanup(cascade, options.config.cleanup)

    @cached_property
    def _device(self) -> torch.device:
        return choose_device(self._options.device, self._session)

    def _box_source(self) -> BoxSource:
        if self._options.boxes == "target":
            return GroundTruthBoxes()
        if self.prompts is not None:
            return PromptFileBoxes(self.prompts, self._options.config.dataset.conf)
        return DetectorBoxes(self.detector, self.class_names)

    def _fetch_weights(self) -> None:
        """Fetch missing weight files, whose content the run's fingerprint needs; a dry run only looks."""
        options, arch = self._options, self._options.config.arch
        needed = [sam_files(arch)[1]]
        if options.runs_detector or options.config.dataset.classes is None:
            needed.append(yolo_weights(arch))
        fetch_weights(needed, self._session, download=not options.dry_run)

    def _read_prompts(self, path: Path) -> Prompts:
        """Read the prompt file; the first process prints how it was understood."""
        options, config = self._options, self._options.config
        if options.dry_run and config.dataset.classes is None and not yolo_weights(config.arch).is_file():
            advice = "missing, and a dry run downloads nothing; with dataset.classes it needs none"
            raise UserError(f"{config.arch.yolo_weights}: {advice}")
        prompts = load_prompts(path, self.class_names, self._images, options.prompt_overrides, config.detector.classes)
        say(prompts.finding)
        warn([*prompts.warnings, *prompts.score_warnings(config.dataset.conf)])
        return prompts


class Predictor:
    """Find the instances of images from Python, with the models of a config file.

    Args:
        config: path of the config file.
        overrides: `section.key=value` texts, as `--set` takes them.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        trust_weights: whether checkpoints may run code while they are loaded.

    Attributes:
        class_names: by class id.

    Raises:
        UserError: the config, weights or the device cannot be used.
    """

    def __init__(self, config: str | Path, *overrides: str, device: str = "auto", trust_weights: bool = False) -> None:
        options = Options(load_config(Path(config), overrides), (), (), None, device, trust_weights)
        chosen = choose_device(device, Session())
        detector = load_detector(options.config, chosen, trust=trust_weights)
        self.class_names = run_class_names(options.config.dataset, lambda: detector.names)
        segmenter = build_segmenter(options, chosen)
        images = ImageCascade(DetectorBoxes(detector, self.class_names), segmenter)
        self._cascade = with_cleanup(images, options.config.cleanup)

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Instances]:
        """Return the instances of each (H, W, 3) RGB image, in detection order; an image may have none."""
        samples = [Sample(str(i), Path(), image) for i, image in enumerate(images)]
        results = self._cascade(samples)
        return [result[1] for result in results if not isinstance(result, SampleError)]


def load_detector(config: Config, device: torch.device, *, trust: bool) -> Detector:
    """Load the detector of `arch.yolo` onto a device.

    Args:
        trust: whether the checkpoint may run code while it is loaded.

    Raises:
        UserError: the table of detectors has no such name, or the weights cannot be used.
    """
    return find_detector(config.arch.yolo)(yolo_weights(config.arch), device, config, trust=trust)


def run_class_names(dataset: DatasetConfig, detector_names: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the class names of a run, by class id: the dataset's, or the detector's where the dataset has none.

    Args:
        detector_names: called only where they are needed, since it may load weights.

    Raises:
        UserError: there are too many classes, or not as many as `dataset.num_classes` says.
    """
    names = detector_names() if dataset.classes is None else dataset.classes
    if len(names) > MAX_CLASSES:
        raise UserError(f"there are {len(names)} classes, more than the {MAX_CLASSES} that a label map can hold")
    dataset.check_num_classes(names)
    return names


def build_segmenter(options: Options, device: torch.device, num_images: int = 1) -> Segmenter:
    """Build the segmenter; compiled, if the options say so or, on a GPU, for a long run of single images.

    Args:
        num_images: how many images the whole run has.

    Raises:
        UserError: weights, a SAM2 config or the precision cannot be used, or SAM2 cannot be compiled, but shall.
    """
    from models.sam2_build import load_sam2
    from models.sam2_forward import cache_pos_embed
    from models.segmenter import LONG_RUN, Segmenter

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
        say([line])
    return segmenter


def sam_files(arch: ArchConfig) -> tuple[str, Path]:
    """Return SAM2's config and weights.

    Raises:
        UserError: one of them is not set.
    """
    if arch.sam_weights is None:
        raise UserError("arch.sam_weights: not set; name a checkpoint, or an official one: " + ", ".join(OFFICIAL_SAM))
    return sam_config_of(arch), arch.sam_weights


def sam_config_of(arch: ArchConfig) -> str:
    """Return `arch.sam_architecture`; UserError where none is set, and the name of the weights is not official."""
    if arch.sam_architecture is None:
        raise UserError(f"arch.sam_config: not set, and {arch.sam_weights} has no official name that would tell it")
    return arch.sam_architecture
