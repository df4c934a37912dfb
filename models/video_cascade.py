"""Instances of clips: detections on keyframes start, confirm and correct tracks, SAM2 propagates them between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from models.cascade import label_masks
from models.detector import BoxSource
from models.device_limits import OomRetry
from models.sam2_forward import Backbone
from models.sam2_video import Propagator, Tracked
from models.segmenter import Segmenter
from models.tracker import TrackManager, select_keyframes
from utils.config import VideoConfig
from utils.distributed import Session
from utils.io.terminal import counted
from utils.masks import Mask
from utils.prompts.prompts import Prompts
from utils.structures import Detections, Frame, Instances, Sample

UNCONFIRMED = (
    "video: no track had a second box; if only first frames have boxes, --keyframe-interval 0 keeps all tracks"
)

LEFT_OUT = {
    "unused": "boxes of the prompt file on frames that are no keyframes, left out",
    "empty": "boxes in which SAM2 sees no object, left out",
    "duplicates": "further boxes of objects that have a track already, left out",
}
"""Counter of ignored boxes -> its description in the summary."""


class VideoCascade:
    """Instances of the frames of clips, one clip after the other, with track ids.

    An instance has the score of its track's latest detection, the class with the most votes so far, and the box of the
    prompt on this frame if there is one, else the tight box of its mask. Tracks with an empty mask give no instance. A
    track whose prompt yields an empty mask ends, since the next box would start another one.

    Args:
        boxes: gives the boxes of keyframes and their classes.
        segmenter: gives those boxes the masks by which they are matched to tracks.
        propagator: follows the tracks, with the segmenter's own model.
        settings: `video` of the config.
        prompts: the prompt file that `boxes` reads, if so; its boxes on other frames are counted.
    """

    def __init__(
        self,
        boxes: BoxSource,
        segmenter: Segmenter,
        propagator: Propagator,
        settings: VideoConfig,
        prompts: Prompts | None = None,
    ) -> None:
        self.boxes, self.segmenter, self.propagator, self.settings = boxes, segmenter, propagator, settings
        self._prompts = prompts
        self._clip: str | None = None
        self._keyframe: int | None = None
        self._tracks = TrackManager(settings)
        self._counts: Counter[str] = Counter()
        self._batches_given = self._batches_done = 0
        self._encoding = OomRetry(segmenter.use_less_memory, segmenter.use_more_memory)
        self._following = OomRetry(propagator.use_less_memory, propagator.use_more_memory)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """Yield the instances of consecutive frames of one clip, in order, with track ids.

        Work begins when the first result is taken. All results of the batch before must be taken by then, since tracks
        go on from there.
        """
        self._batches_given += 1
        return self._follow(samples, self._batches_given)

    def summary_lines(self, session: Session) -> list[str]:
        """Describe the tracks of all processes, after the lines of the source of boxes and the segmenter."""
        counts = session.sum_counts(self._counts)
        keyframes, frames = counted(counts["keyframes"], "keyframe"), counted(counts["frames"], "frame")
        unconfirmed = counts["ended"] and not counts["confirmed"]
        return [
            *self.boxes.summary_lines(session),
            *self.segmenter.summary_lines(),
            *self._encoding.summary_lines(session),
            f"video: boxes were looked for on {keyframes} of {frames}",
            *(f"video: {text}: {counts[name]}" for name, text in LEFT_OUT.items() if counts[name]),
            f"video: {counted(counts['started'], 'track')} found, {counted(counts['corrected'], 'time')} corrected, "
            f"{counts['ended']} ended before their clips did",
            *([UNCONFIRMED] if unconfirmed else []),
        ]

    def _follow(self, samples: Sequence[Sample], number: int) -> Iterator[tuple[Sample, Instances]]:
        assert number == self._batches_done + 1, "the batch before is not taken yet"
        detected = self._detect(samples) if samples else {}
        at_once = self.segmenter.max_batch
        for start in range(0, len(samples), at_once):
            group = samples[start : start + at_once]
            for sample, backbone in zip(group, self._encode(group)):
                index = _frame_of(sample).index
                yield sample, self._instances(sample.size, index, backbone, detected.get(index))
        self._batches_done = number

    def _encode(self, samples: Sequence[Sample]) -> Iterable[Backbone]:
        images = [sample.image for sample in samples]
        return chain.from_iterable(self._encoding(len(images), lambda part: self.propagator.encode(images[part])))

    def _detect(self, samples: Sequence[Sample]) -> dict[int, Detections]:
        """Return the detections on the keyframes of a batch, by frame index; reset if another clip begins."""
        first = _frame_of(samples[0])
        if first.clip != self._clip:
            self._clip, self._keyframe, self._tracks = first.clip, None, TrackManager(self.settings)
            self.propagator.reset(samples[0].size, first.count)
        by_index = {_frame_of(sample).index: sample for sample in samples}
        chosen = select_keyframes(list(by_index), self._keyframe, self.settings.keyframe_interval)
        if self._prompts is not None:
            others = [sample.image_id for index, sample in by_index.items() if index not in chosen]
            self._counts["unused"] += sum(map(self._prompts.count, others))
        if not chosen:
            return {}
        self._keyframe = chosen[-1]
        return dict(zip(chosen, self.boxes([by_index[index] for index in chosen])))

    def _instances(
        self, size: tuple[int, int], index: int, backbone: Backbone, detections: Detections | None
    ) -> Instances:
        """Compute the instances of a frame; detections make it a keyframe."""
        (tracked,), boxes = self._following(1, lambda _: self.propagator.step(index, backbone)), {}
        self._counts["frames"] += 1
        if detections is not None:
            boxes = self._update_tracks(size, {i: mask for i, (mask, _) in tracked.items()}, backbone, detections)
            (prompted,) = self._following(1, lambda _: self.propagator.add_boxes(boxes))
            known, tracked = {*tracked}, tracked | prompted
            self._end_unseen([i for i in boxes if not tracked[i][0].shape[0]], known)
            tracked = {i: found for i, found in tracked.items() if i in self._tracks.live}
        return self._to_instances(size, {i: tracked[i] for i in sorted(tracked) if tracked[i][0].shape[0]}, boxes)

    def _update_tracks(
        self, size: tuple[int, int], masks: dict[int, Mask], backbone: Backbone, detections: Detections
    ) -> dict[int, np.ndarray]:
        """Match detections to tracks, end the missing ones, and return the boxes to prompt with, by track id."""
        launched = self._encoding(1, lambda _: self.segmenter.launch_encoded(backbone, size, detections.boxes))
        (answered,) = self.segmenter.collect(launched[0])
        found = label_masks(size, detections, answered)
        update = self._tracks.update(masks, found)
        for track_id in update.ended:
            self.propagator.remove(track_id)
        started = len(update.started)
        self._counts.update(
            keyframes=1,
            started=started,
            confirmed=len(found) - started - update.empty - update.duplicates,
            corrected=len(update.corrected),
            ended=len(update.ended),
            empty=update.empty,
            duplicates=update.duplicates,
        )
        return {i: detections.boxes[place] for i, place in (update.corrected | update.started).items()}

    def _end_unseen(self, track_ids: Sequence[int], known: Collection[int]) -> None:
        """End tracks whose prompt yielded an empty mask; unless known from earlier frames, they do not count at all."""
        for track_id in track_ids:
            self._tracks.end(track_id)
            self.propagator.remove(track_id)
            self._counts.update({"ended": 1} if track_id in known else {"started": -1, "empty": 1})

    def _to_instances(
        self, size: tuple[int, int], visible: dict[int, Tracked], boxes: dict[int, np.ndarray]
    ) -> Instances:
        """Assemble the instances of the visible tracks; `boxes` are those of this frame's prompts, by track id."""
        tracks = [self._tracks.live[i] for i in visible]
        masks, mask_scores = [mask for mask, _ in visible.values()], [score for _, score in visible.values()]
        classes, scores = [track.class_id for track in tracks], [track.score for track in tracks]
        tight = Instances.from_masks(size, classes, masks, scores, mask_scores)
        chosen = [boxes.get(i, box) for i, box in zip(visible, tight.detections.boxes)]
        detections = Detections.from_arrays(chosen, scores, classes)
        return Instances(size, detections, masks, tight.mask_scores, np.array(list(visible), np.int64))


def _frame_of(sample: Sample) -> Frame:
    assert sample.frame is not None, f"{sample.image_id} is no frame of a clip"
    return sample.frame
