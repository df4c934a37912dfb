"""Prompt SAM2 with YOLO's boxes; its masks, which have no class of their own, get the class of their box.

In clips the boxes of a track vote on its class, see `models/video_cascade.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, TypeAlias

from models.detector import BoxSource, GroundTruthBoxes
from utils.device import use_gpu
from utils.distributed import Session
from utils.structures import Detections, Instances, Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from models.segmenter import Segmenter
    from models.transfer import AsyncMasks, BoxMasks, Upload


PendingBatch: TypeAlias = "tuple[Sequence[Sample], Sequence[Sequence[Detections]], AsyncMasks]"
"""Consecutive images, the sets of boxes of each, and the masks of all sets, which a GPU may still compute.

A set holds the boxes of one origin: an image has one of those found and, for error attribution, one of the true ones.
"""


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


class ImageCascade:
    """Find the instances of single images.

    Args:
        boxes: gives boxes and their classes.
        segmenter: gives each box its mask.
        gt_boxes: whether SAM2 also segments the boxes of the true instances, as error attribution needs it; the
            samples then have the result as `gt_box_instances`. An image is encoded once for both.
    """

    def __init__(self, boxes: BoxSource, segmenter: Segmenter, *, gt_boxes: bool = False) -> None:
        from models.oom_retry import OomRetry

        self.boxes, self.segmenter = boxes, segmenter
        self._gt_boxes = GroundTruthBoxes() if gt_boxes else None
        self._detecting = ThreadPoolExecutor(1, "detector", partial(use_gpu, segmenter.device))
        # Two, since the detector's thread and the main thread may run out of memory at the same time.
        self._detect_retry = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)
        self._launch_retry = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)
        # With CUDA, the `launch` of the batch before, until it is called or its results are asked for.
        self._previous: Callable[[], object] | None = None

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """Yield the instances of each image of a batch, in order, found in one detector and one segmenter call.

        On a CPU the work starts when the first result is asked for, else at once. With CUDA, boxes are found in a
        thread and on a stream of their own, while the host fills the queue of the batch before, whose boxes are known
        by then. So the GPU waits for no box, where the caller asks for results two batches late (`utils/engine.py`).
        """
        device, detect = self.segmenter.device.type, partial(self._detect, samples)
        # With CUDA, the thread begins to look for boxes now, and `result` waits for it.
        wait_for_boxes = self._detecting.submit(detect).result if device == "cuda" else detect
        launch = cache(lambda: self._launch(samples, wait_for_boxes()))  # launches once, whoever calls it first
        if device == "cuda":
            if self._previous is not None:
                self._previous()
            self._previous = launch
        elif device != "cpu":
            launch()
        return self._collected(launch)

    def summary_lines(self, session: Session) -> list[str]:
        """Return the lines that the source of boxes and the segmenter print at the end of a run."""
        return [
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

    def _launch(self, samples: Sequence[Sample], detected: list[tuple[Upload, list[Detections]]]) -> list[PendingBatch]:
        """Start consecutive parts of a batch, as large as memory allows.

        Args:
            detected: as `_detect` returns it, with the batch's images on the device; emptied.
        """
        images = [image for upload, _ in detected for image in upload.images()]
        sets = [[boxes] for _, detections in detected for boxes in detections]
        if self._gt_boxes is not None:
            sets = [[*boxes, gt_boxes] for boxes, gt_boxes in zip(sets, self._gt_boxes(samples))]
        pending = self._launch_retry(
            len(samples), lambda part: self._launch_part(samples[part], images[part], sets[part])
        )
        detected.clear()  # or the images would be on the GPU until the masks are written
        return pending

    def _launch_part(
        self,
        samples: Sequence[Sample],
        images: Sequence[npt.NDArray[np.uint8] | torch.Tensor],
        sets: Sequence[Sequence[Detections]],
    ) -> PendingBatch:
        """Start images, each with one set of boxes or two; the order of the masks is image by image, set by set."""
        boxes = [each.boxes for boxes_of_image in sets for each in boxes_of_image]
        image_index = [i for i, boxes_of_image in enumerate(sets) for _ in boxes_of_image]
        return samples, sets, self.segmenter.launch(images, boxes, image_index)

    def _collected(self, launch: Callable[[], list[PendingBatch]]) -> Iterator[tuple[Sample, Instances]]:
        """Wait for the masks of a batch and give them their classes, image by image."""
        if self._previous is launch:
            self._previous = None  # so that what fails here does not fail again in the next call
        for part, sets, pending in launch():
            masks = iter(self.segmenter.collect(pending))
            for sample, boxes_of_image in zip(part, sets):
                instances, *gt_instances = [label_masks(sample.size, boxes, next(masks)) for boxes in boxes_of_image]
                yield (replace(sample, gt_box_instances=gt_instances[0]) if gt_instances else sample), instances
