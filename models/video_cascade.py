"""Instances of clips: detections start, confirm and correct tracks, SAM2 carries them from frame to frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from models.box_sources import BoxSource
from models.cascade import label_masks
from models.oom_retry import out_of_memory
from models.sam2_compile import MAX_BATCH
from models.sam2_forward import Backbone
from models.sam2_video import Propagator, Tracked
from models.segmenter import Segmenter
from models.tracker import TrackManager, keyframes
from utils.config import VideoConfig
from utils.distributed import Session
from utils.errors import RunError
from utils.masks import Mask
from utils.prompts.prompts import Prompts
from utils.structures import Detections, Frame, Instances, Sample

ADVICE = "where only first frames have boxes, --keyframe-interval 0 ends none"

LEFT_OUT = {
    "unused": "boxes of the prompt file on frames that are no keyframes, left out",
    "empty": "boxes in which SAM2 sees no object, which start no track",
    "doubled": "further boxes of objects that have a track, which start none",
}
"""Counted boxes -> what is said of them."""


class VideoCascade:
    """Instances of the frames of clips, one clip after the other, with the ids of their tracks.

    An instance's score is that of its track's latest detection, its class the vote of all of them so far, its box that
    of the prompt on the frame where there was one, else its mask's own. Tracks that are not to be seen have none; those
    of which not even their box shows anything end, since the next box would start another one.

    Args:
        detector: finds boxes on keyframes and names them.
        segmenter: gives those boxes their masks, by which they are matched to tracks.
        propagator: follows the tracks, with the segmenter's own model.
        settings: when a keyframe comes, and what it does.
        prompts: where the detector takes the boxes from, if it is a file; those on other frames are counted.
    """

    def __init__(
        self,
        detector: BoxSource,
        segmenter: Segmenter,
        propagator: Propagator,
        settings: VideoConfig,
        prompts: Prompts | None = None,
    ) -> None:
        self.detector, self.segmenter, self.propagator, self.settings = detector, segmenter, propagator, settings
        self._given = prompts
        self._clip: str | None = None
        self._keyframe: int | None = None
        self._tracks = TrackManager(settings)
        self._counts: Counter[str] = Counter()
        self._handed = self._followed = 0

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each of some consecutive frames of one clip, in order, with track ids.

        It begins when the first are taken, since it needs to know how the batch before ended, all of which must be
        taken before.
        """
        self._handed += 1
        return self._follow(samples, self._handed)

    def summary_lines(self, session: Session) -> list[str]:
        """What became of the tracks in all processes, and what detector and segmenter have to say."""
        counts = session.sum_counts(self._counts)
        unconfirmed = counts["ended"] and not counts["confirmed"]
        return [
            *self.detector.summary_lines(session),
            *self.segmenter.summary_lines(),
            f"video: boxes were looked for on {counts['keyframes']} keyframes of {counts['frames']} frames",
            *(f"video: {which}: {counts[name]}" for name, which in LEFT_OUT.items() if counts[name]),
            f"video: {counts['started']} tracks found, {counts['corrected']} times corrected, "
            f"{counts['ended']} ended before their clips did",
            *([f"video: no track had a second box; {ADVICE}"] if unconfirmed else []),
        ]

    def _follow(self, samples: Sequence[Sample], turn: int) -> Iterator[tuple[Sample, Instances]]:
        assert turn == self._followed + 1, "the batch before is not taken yet"
        try:
            detected = self._enter(samples) if samples else {}
            for start in range(0, len(samples), MAX_BATCH):
                group = samples[start : start + MAX_BATCH]
                for sample, backbone in zip(group, self.propagator.encode([sample.image for sample in group])):
                    index = _frame_of(sample).index
                    yield sample, self._instances(sample, index, backbone, detected.get(index))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            advice = "choose a smaller dataloader.batch_size, smaller models or --device cpu"
            raise RunError(f"the GPU has too little memory to follow the objects of {self._clip}: {advice}") from error
        self._followed = turn

    def _enter(self, samples: Sequence[Sample]) -> dict[int, Detections]:
        """Begins anew where another clip begins; the detections on the keyframes of the batch, by their index."""
        first = _frame_of(samples[0])
        if first.clip != self._clip:
            self._clip, self._keyframe, self._tracks = first.clip, None, TrackManager(self.settings)
            self.propagator.begin(samples[0].size, first.count)
        by_index = {_frame_of(sample).index: sample for sample in samples}
        chosen = keyframes(list(by_index), self._keyframe, self.settings.keyframe_interval)
        if self._given is not None:
            passed = [sample.image_id for index, sample in by_index.items() if index not in chosen]
            self._counts["unused"] += sum(map(self._given.count, passed))
        if not chosen:
            return {}
        self._keyframe = chosen[-1]
        return dict(zip(chosen, self.detector([by_index[index] for index in chosen])))

    def _instances(self, sample: Sample, index: int, backbone: Backbone, detections: Detections | None) -> Instances:
        """The instances of a frame; detections make it a keyframe."""
        shown, boxes = self.propagator.advance(index, backbone), {}
        self._counts["frames"] += 1
        if detections is not None:
            boxes = self._prompts(sample.size, {i: mask for i, (mask, _) in shown.items()}, backbone, detections)
            known, shown = {*shown}, shown | self.propagator.prompt(boxes)
            self._end_unseen([i for i in boxes if not shown[i][0].crop.size], known)
            shown = {i: tracked for i, tracked in shown.items() if i in self._tracks.live}
        return self._shown(sample.size, {i: shown[i] for i in sorted(shown) if shown[i][0].crop.size}, boxes)

    def _prompts(
        self, size: tuple[int, int], masks: dict[int, Mask], backbone: Backbone, detections: Detections
    ) -> dict[int, np.ndarray]:
        """What a keyframe's detections change: tracks that end are ended, those to be prompted returned with a box."""
        (answered,) = self.segmenter.collect(self.segmenter.launch_encoded(backbone, size, detections.boxes))
        found = label_masks(size, detections, answered)
        turn = self._tracks.keyframe(masks, found)
        for track_id in turn.ended:
            self.propagator.end(track_id)
        started = len(turn.started)
        self._counts.update(
            keyframes=1,
            started=started,
            confirmed=len(found) - started - turn.empty - turn.duplicates,
            corrected=len(turn.corrected),
            ended=len(turn.ended),
            empty=turn.empty,
            duplicates=turn.duplicates,
        )
        return {i: detections.boxes[place] for i, place in (turn.corrected | turn.started).items()}

    def _end_unseen(self, track_ids: Sequence[int], known: Collection[int]) -> None:
        """Ends tracks that their prompt did not show; those that are not known from earlier frames never began."""
        for track_id in track_ids:
            self._tracks.end(track_id)
            self.propagator.end(track_id)
            self._counts.update({"ended": 1} if track_id in known else {"started": -1, "empty": 1})

    def _shown(self, size: tuple[int, int], visible: dict[int, Tracked], boxes: dict[int, np.ndarray]) -> Instances:
        """The instances of the tracks that are to be seen; boxes are those of this frame's prompts, by track id."""
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
