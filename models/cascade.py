"""Prompt SAM2 with YOLO's boxes; its masks, which have no class of their own, get the class of their box.

In clips the boxes of a track vote on its class, see `models/video_cascade.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.detector import BoxSource, GroundTruthBoxes
from utils.device import use_gpu
from utils.distributed import Session
from utils.structures import Detections, Instances, Sample

if TYPE_CHECKING:
    from models.segmenter import Segmenter
    from models.transfer import AsyncMasks, BoxMasks, Upload

DARK = 16
"""Models see black in images all of whose values are lower, as where a file of 16 bits has samples of 12."""


@dataclass
class _Batch:
    """Hold the images of a call while their boxes are looked for, their masks are launched, and both are collected.

    Attributes:
        detected: with CUDA, what `ImageCascade._detect` returns in its thread; None again once the masks are launched.
        launched: consecutive parts, each with its images, the sets of boxes of each, and the masks of all sets, which a
            GPU may still compute; None before. A set holds the boxes of one origin: an image has one of those found
            and, for error attribution, one of the true ones.
    """

    samples: Sequence[Sample]
    detected: Future[list[tuple[Upload, list[Detections]]]] | None = None
    launched: list[tuple[Sequence[Sample], Sequence[Sequence[Detections]], AsyncMasks]] | None = None


def label_masks(size: tuple[int, int], detections: Detections, found: BoxMasks) -> Instances:
    """Give each mask the class of the box that prompted it.

    Mask i is SAM2's answer to box i, so box, score, class id and mask share one index. Nothing may be filtered or
    sorted on one side alone before they meet here. With `dataset.class_map`, `models/postprocessing.py` then turns
    the class into one of the run.

    Args:
        size: (height, width) of the image in pixels.
        detections: the N boxes that prompted SAM2.
        found: the N masks that it answered.
    """
    return Instances(size, detections, found.masks, found.scores)


def _is_dark(image: npt.NDArray[np.uint8]) -> bool:
    """Tell whether an (H, W, 3) image shows something, all of it below `DARK`."""
    return bool(image[::8, ::8].max() < DARK and image.min() < image.max() < DARK)  # few pixels tell most others


class ImageCascade:
    """Find the instances of single images.

    Args:
        boxes: gives boxes and their classes.
        segmenter: gives each box its mask.
        gt_boxes: whether SAM2 also segments the boxes of the true instances, as error attribution needs it; the
            samples then have the result as `gt_box_instances`. An image is encoded once for both.
    """

    def __init__(self, boxes: BoxSource, segmenter: Segmenter, *, gt_boxes: bool = False) -> None:
        from models.device_limits import OomRetry

        self.boxes, self.segmenter = boxes, segmenter
        self._gt_boxes = GroundTruthBoxes() if gt_boxes else None
        self._detecting = ThreadPoolExecutor(1, "detector", partial(use_gpu, segmenter.device))
        # Two, since the detector's thread and the main thread may run out of memory at the same time.
        self._detect_retry = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)
        self._launch_retry = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)
        self._unlaunched: _Batch | None = None  # with CUDA, the batch of the last call
        self._num_dark, self._first_dark = 0, ""

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """Yield the instances of each image of a batch, in order, found in one detector and one segmenter call.

        On a CPU the work starts when the first result is asked for, else at once. With CUDA, boxes are found in a
        thread and on a stream of their own, while the host fills the queue of the batch before, whose boxes are known
        by then. So the GPU waits for no box, where the caller asks for results two batches late (`utils/engine.py`).
        """
        batch, device = _Batch(samples), self.segmenter.device.type
        for sample in samples:
            if _is_dark(sample.image):
                self._num_dark, self._first_dark = self._num_dark + 1, self._first_dark or sample.image_id
        if device == "cuda":
            batch.detected = self._detecting.submit(self._detect, samples)
            if self._unlaunched is not None:
                self._launch(self._unlaunched)
            self._unlaunched = batch
        elif device != "cpu":
            self._launch(batch)
        return self._results(batch)

    def summary_lines(self, session: Session) -> list[str]:
        """Return the lines that the source of boxes and the segmenter print at the end of a run, and of dark images."""
        dark = [(first, count) for first, count in session.gather([(self._first_dark, self._num_dark)]) if count]
        which = f"no value above {DARK - 1} of 255, so the models see black: {sum(count for _, count in dark)}"
        advice = "scale them first: of 16 bits, 65535 is white"
        return [
            *(f"images: {which}, such as {first}; {advice}" for first, _ in sorted(dark)[:1]),
            *self.boxes.summary_lines(session),
            *self.segmenter.summary_lines(),
            *dict.fromkeys([*self._detect_retry.summary_lines(session), *self._launch_retry.summary_lines(session)]),
        ]

    def _detect(self, samples: Sequence[Sample]) -> list[tuple[Upload, list[Detections]]]:
        """Send the images of a batch to the device and find their boxes, in parts as large as memory allows.

        Returns:
            of each part its images on the device, and the boxes of each image.
        """
        images = [sample.image for sample in samples]
        return self._detect_retry(
            len(samples), lambda part: (self.segmenter.upload(images[part]), self.boxes(samples[part]))
        )

    def _launch(self, batch: _Batch) -> None:
        """Start the masks of a batch, in consecutive parts as large as memory allows."""
        self._unlaunched = None  # before what may fail, so that it does not fail again in the next call
        detected = self._detect(batch.samples) if batch.detected is None else batch.detected.result()
        images = [image for upload, _ in detected for image in upload.images()]
        sets = [[boxes] for _, detections in detected for boxes in detections]
        if self._gt_boxes is not None:
            sets = [[*boxes, gt_boxes] for boxes, gt_boxes in zip(sets, self._gt_boxes(batch.samples))]

        def launch(part: slice) -> tuple[Sequence[Sample], Sequence[Sequence[Detections]], AsyncMasks]:
            # Masks come image by image, set by set.
            boxes = [each.boxes for boxes_of_image in sets[part] for each in boxes_of_image]
            image_index = [i for i, boxes_of_image in enumerate(sets[part]) for _ in boxes_of_image]
            return batch.samples[part], sets[part], self.segmenter.launch(images[part], boxes, image_index)

        batch.launched = self._launch_retry(len(batch.samples), launch)
        batch.detected = None  # or the images would be on the GPU until the masks are written

    def _results(self, batch: _Batch) -> Iterator[tuple[Sample, Instances]]:
        """Wait for the masks of a batch and give them their classes, image by image."""
        if batch.launched is None:
            self._launch(batch)
        for samples, sets, pending in batch.launched or ():
            masks = iter(self.segmenter.collect(pending))
            for sample, boxes_of_image in zip(samples, sets):
                instances, *gt_instances = [label_masks(sample.size, boxes, next(masks)) for boxes in boxes_of_image]
                yield (replace(sample, gt_box_instances=gt_instances[0]) if gt_instances else sample), instances
