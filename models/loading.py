"""Fetch, load and combine the models of a run, or of a `Predictor` in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.cascade import ImageCascade
from models.detector import (
    BoxSource,
    Detector,
    DetectorBoxes,
    GivenBoxes,
    GroundTruthBoxes,
    PromptFileBoxes,
    find_detector,
)
from models.downloads import fetch_weights
from models.notices import demo_warnings, describe_device, missing_class_warnings, models_line
from models.postprocessing import load_calibration, postprocessed
from models.sam2_build import build_segmenter
from models.sam2_config import sam_files
from models.slices import SlicedDetector, check_slicing
from models.yolo_weights import yolo_weights
from utils.annotations.source import AnnotationCascade, AnnotationFolder
from utils.class_map import ClassMap
from utils.classes import MAX_CLASSES
from utils.cli.options import Options
from utils.config import CleanupConfig, Config, DatasetConfig, load_config
from utils.device import choose_device
from utils.distributed import Session
from utils.engine import Cascade, RunImages
from utils.errors import SampleError, UserError
from utils.io.image_files import set_largest_image
from utils.io.photos import pixels_of, read_image
from utils.io.terminal import say, warn
from utils.metrics.calibration import Calibration
from utils.prompts.prompts import Prompts, load_prompts
from utils.structures import Instances, Sample

if TYPE_CHECKING:
    import torch


class RunModels:
    """Load each model of a run once, when it is first needed.

    Weights are fetched and the prompt file is read by the constructor, since their content decides which images are
    finished already.

    Args:
        options: of the run.
        images: of the run.
        session: the processes of the run, each of which has models of its own.

    Attributes:
        prompts: the boxes of a prompt file, used instead of the detector's, or None.
        device_text: what the models run on, and the precision; `build_cascade` sets it.

    Raises:
        UserError: a weight file is not set, or missing and cannot be downloaded; the prompt file cannot be used.
    """

    def __init__(self, options: Options, images: RunImages, session: Session) -> None:
        self._options, self._images, self._session = options, images, session
        self.device_text = "none"
        self._calibration: Calibration | None = None
        if options.annotations is None:
            find_detector(options.config.arch.yolo)  # a wrong name, or no sahi, is refused before anything is fetched
            check_slicing(options.config)
            self._fetch_weights()
            if (path := options.config.segmenter.calibration) is not None:
                self._calibration = load_calibration(path, options.model_files)
        self.prompts = None if options.prompt is None else self._read_prompts(options.prompt)

    @cached_property
    def class_map(self) -> ClassMap:
        """Return how the classes of masks, models and files become those of the run; see `run_classes`."""
        return run_classes(self._options.config.dataset, lambda: self.detector.names)

    @cached_property
    def detector(self) -> Detector:
        """Return the detector of `arch.yolo`; see `load_detector`."""
        return load_detector(self._options.config, self._device, trust=self._options.trust_weights)

    @property
    def batches_ahead(self) -> int:
        """Return how many batches the cascade should get before results are taken.

        Two on CUDA, where boxes are found in one batch and masks in the one before; none on a CPU, which gains nothing
        and would hold the images of two batches.
        """
        return 1 if self._options.annotations is not None else {"cuda": 2, "cpu": 0}.get(self._device.type, 1)

    def build_cascade(self) -> Cascade:
        """Build the cascade that finds the instances of the run, and print which models it uses.

        Raises:
            UserError: weights, a SAM2 config, the device or the precision cannot be used.
        """
        options, config = self._options, self._options.config
        if options.annotations is not None:
            offset = options.prompt_overrides.category_offset
            folder = AnnotationFolder(options.annotations, self.class_map.index, offset, self._images)
            say([f"annotations {options.annotations}, no model{folder.coverage(self._images.ids)}"])
            return postprocessed(AnnotationCascade(folder), self.class_map, CleanupConfig())
        boxes = self._box_source()
        segmenter = build_segmenter(
            config, self._device, trust=options.trust_weights, video=options.video, num_images=len(self._images.ids)
        )
        self.device_text = describe_device(self._device, segmenter.precision, segmenter.backend)
        names = self.detector.names if options.runs_detector else ()
        say([models_line(options, names, self.device_text)])
        warn(demo_warnings(options))
        cascade: Cascade
        if options.video:
            from models.sam2_video import Propagator
            from models.video_cascade import VideoCascade

            propagator = Propagator(
                segmenter.model,
                segmenter.precision,
                non_overlap=config.video.non_overlap_masks,
                chunk_bytes=segmenter.chunk_bytes,
            )
            cascade = VideoCascade(boxes, segmenter, propagator, config.video, self.prompts)
        else:
            cascade = ImageCascade(boxes, segmenter, gt_boxes=options.attribute)
        return postprocessed(cascade, self.class_map, config.cleanup, self._calibration)

    @cached_property
    def _device(self) -> torch.device:
        return choose_device(self._options.device, self._session)

    def _box_source(self) -> BoxSource:
        if self._options.boxes == "target":
            return GroundTruthBoxes()
        dataset = self._options.config.dataset
        if self.prompts is not None:
            return PromptFileBoxes(self.prompts, source_conf(dataset, self.class_map))
        names, kept = self.detector.names, self._options.config.detector.classes
        boxes = detector_boxes(self.detector, self.class_map, dataset)
        if "evaluate" in self._options.outputs:
            found = self.class_map.translate(names)
            warn(missing_class_warnings(found, self.class_map.names, kept and self.class_map.translate(kept)))
        return boxes

    def _fetch_weights(self) -> None:
        """Fetch missing weight files, whose content the run's fingerprint needs; a dry run checks for existence."""
        options, arch = self._options, self._options.config.arch
        needed = [sam_files(arch)[1]]
        if options.runs_detector or options.config.dataset.classes is None:
            needed.append(yolo_weights(arch))
        fetch_weights(needed, self._session, download=not options.dry_run)

    def _read_prompts(self, path: Path) -> Prompts:
        """Read the prompt file; the first process prints how it was interpreted."""
        options, config = self._options, self._options.config
        if options.dry_run and config.dataset.classes is None and not yolo_weights(config.arch).is_file():
            advice = "missing, and a dry run downloads nothing; with dataset.classes it needs none"
            raise UserError(f"{config.arch.yolo_weights}: {advice}")
        prompts = load_prompts(
            path, self.class_map.source, self._images, options.prompt_overrides, config.detector.classes
        )
        say(prompts.finding)
        warn(self.class_map.unknown_keys(prompts.class_names, str(path)))
        warn([*prompts.warnings, *prompts.score_warnings(source_conf(config.dataset, self.class_map))])
        return prompts


class Predictor:
    """Find the instances of images from Python, with the models of a config file.

    Threads may share one; their calls wait for each other. The caller's `torch.autocast` has no effect: the precision
    is that of the config.

    Args:
        config: path of the config file.
        overrides: `section.key=value` texts, as `--set` takes them.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        trust_weights: whether checkpoints may run code while they are loaded.
        detector: whether YOLO is loaded. Without it each call needs boxes, and `dataset.classes` must be set.

    Attributes:
        class_names: by class id.

    Raises:
        UserError: the config, weights or the device cannot be used.
    """

    def __init__(
        self,
        config: str | Path,
        *overrides: str,
        device: str = "auto",
        trust_weights: bool = False,
        detector: bool = True,
    ) -> None:
        settings, chosen = load_config(Path(config), overrides), choose_device(device, Session())
        if not detector and settings.dataset.classes is None:
            raise UserError(f"{config}: dataset.classes: must be set for a Predictor without a detector")
        set_largest_image(settings.dataloader.max_megapixels)
        import torch

        with torch.random.fork_rng(devices=[]):  # layers are random before their weights are loaded
            finder = load_detector(settings, chosen, trust=trust_weights) if detector else None
            segmenter = build_segmenter(settings, chosen, trust=trust_weights)
        class_map = run_classes(settings.dataset, lambda: finder.names if finder else ())
        found = None if finder is None else detector_boxes(finder, class_map, settings.dataset)
        self.class_names, self._device, self._given = class_map.names, chosen, GivenBoxes(len(class_map.names))
        self._cascade = None
        if found is not None:
            self._cascade = postprocessed(ImageCascade(found, segmenter), class_map, settings.cleanup)
        own_classes = ClassMap.from_targets(class_map.names, {})  # which boxes of a call have already
        self._prompted = postprocessed(ImageCascade(self._given, segmenter), own_classes, settings.cleanup)
        self._calibration = None  # not in the cascade, which would keep all scores for the end of a run
        if (path := settings.segmenter.calibration) is not None:
            weights = {"detector": yolo_weights(settings.arch), "SAM2": sam_files(settings.arch)[1]}
            self._calibration = load_calibration(path, weights)
        self._lock = Lock()  # Ultralytics' predictor keeps the batch that it works on

    def __call__(
        self,
        images: Iterable[str | Path | Image.Image | npt.NDArray[np.uint8]],
        boxes: Sequence[npt.ArrayLike] | None = None,
        class_ids: Sequence[npt.ArrayLike] | None = None,
    ) -> list[Instances]:
        """Return the instances of each image, in the order of its boxes; an image may have none.

        With `segmenter.calibration` they have expected IoUs, too.

        Args:
            images: paths of files, which are read as in all runs, images of Pillow, or (H, W, 3) uint8 RGB arrays.
            boxes: (N, 4) x1 y1 x2 y2 in pixels for each image, in place of YOLO's; they are clipped to their image.
            class_ids: (N,) for each image, those of its boxes, by which they have their names in `class_names`.

        Raises:
            UserError: an image cannot be read or is no such array; or boxes and classes do not fit them or each other.
        """
        import torch

        if isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise UserError("images: expected a list; a single image goes into a list, too: [image]")
        samples = [_sample(i, image) for i, image in enumerate(images)]
        cascade = self._cascade if boxes is None and class_ids is None else self._prompted
        if cascade is None:
            raise UserError("boxes and class_ids are missing: this Predictor has no detector")
        found = []
        with self._lock, torch.autocast(self._device.type, enabled=False):
            if cascade is self._prompted:
                self._given.take(samples, boxes, class_ids)
            for result in cascade(samples):
                if isinstance(result, SampleError):  # none of this cascade; left out, it would shift all later results
                    raise result
                found.append(result[1])
        if (calibration := self._calibration) is None:
            return found
        return [replace(each, expected_ious=calibration.expected_ious(each, self.class_names)) for each in found]


def _sample(position: int, image: str | Path | Image.Image | npt.NDArray[np.uint8]) -> Sample:
    """Return the sample of an image that a caller from Python gave at a position; UserError if it is none."""
    place, path = f"images[{position}]", Path()
    try:
        if isinstance(image, (str, Path)):
            place, path = f"{place}: {image}", Path(image)
            image = read_image(path)
        elif isinstance(image, Image.Image):
            image = pixels_of(image)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from error
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        kind = f"{image.shape} {image.dtype}" if is_array else type(image).__name__
        grey = "; np.dstack([image] * 3) makes RGB of a grey one" if is_array and image.ndim == 2 else ""
        raise UserError(f"{place}: expected a path, or an array (H, W, 3) uint8 in RGB, found {kind}{grey}")
    return Sample(str(position), path, image)


def load_detector(config: Config, device: torch.device, *, trust: bool) -> Detector:
    """Load the detector of `arch.yolo` onto a device.

    It gets a single `dataset.conf`, the lowest of all classes; `DetectorBoxes` leaves out what scores too low for its
    class.

    Args:
        trust: whether the checkpoint may run code while it is loaded.

    Raises:
        UserError: the table of detectors has no such name, the weights cannot be used, or slices need a package.
    """
    config = replace(config, dataset=replace(config.dataset, conf=config.dataset.least_conf))
    check_slicing(config)
    detector = find_detector(config.arch.yolo)(yolo_weights(config.arch), device, config, trust=trust)
    return detector if config.detector.slice is None else SlicedDetector(detector, config)


def detector_boxes(detector: Detector, class_map: ClassMap, dataset: DatasetConfig) -> DetectorBoxes:
    """Provide the boxes of a detector with the classes before `class_map`, which is applied to the instances."""
    class_map.check_known(detector.names)
    return DetectorBoxes(detector, class_map.source, source_conf(dataset, class_map))


def run_classes(dataset: DatasetConfig, detector_names: Callable[[], tuple[str, ...]]) -> ClassMap:
    """Return the classes of a run: the dataset's, or the detector's where the dataset has none, as `class_map` has it.

    Args:
        detector_names: called only where they are needed, since it may load weights.

    Raises:
        UserError: there are too many classes, not as many as `dataset.num_classes` says, or others than in
            `dataset.conf`.
    """
    names = detector_names() if dataset.classes is None else dataset.classes
    dataset.check_classes(names)
    class_map = ClassMap.from_targets(names, dataset.class_map)
    if len(class_map.names) > MAX_CLASSES:
        advice = "choose fewer with dataset.classes or detector.classes"
        raise UserError(
            f"there are {len(class_map.names)} classes, more than the {MAX_CLASSES} that a label map can hold; {advice}"
        )
    return class_map


def source_conf(dataset: DatasetConfig, class_map: ClassMap) -> npt.NDArray[np.float32]:
    """Return the score that boxes must exceed for each class in `class_map.source`: that of the class of the run.

    Boxes of dropped classes need the lowest score of all.
    """
    conf = dataset.class_conf(class_map.names)
    return np.where(class_map.ids < 0, np.float32(dataset.least_conf), conf[class_map.ids])
