"""Overlays: the photograph with the mask, outline, box, name and score of each instance, and its track in a clip."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.boxes import xywh_to_xyxy
from utils.classes import VOID, label_of
from utils.distributed import Session
from utils.engine import RunSummary, failure_lines
from utils.errors import SampleError
from utils.io.encoding import EncodingError, encode_image
from utils.io.writers import Writers, atomic_write, safe_path
from utils.label_maps import value_counts
from utils.masks import Mask
from utils.structures import Instances, Sample
from utils.visual.colors import DARK, class_color, track_color
from utils.visual.drawing import Mark, Style, check_font, draw, hatched, missing_glyphs, tag

# Full colour resolution: at JPEG's usual half, thin coloured lines smear.
ENCODING = {
    "jpg": (cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "png": (),
}

TAGS_OF_CLIPS = 12
"""How many tags a frame of a clip has room for, whatever it holds, so that text keeps its size from frame to frame."""


class OverlaySink:
    """Writes `<save_dir>/<image_id>.jpg` or `.png` for each image of the run.

    Args:
        save_dir: the folder of the overlays; made when first needed.
        names: class names, indexed by class id.
        writers: who draws, encodes and writes.
        format: `jpg` or `png`.
        side_by_side: put the target beside the prediction, where the sample has one.
        font: font file to prefer for the names. Characters that no font at hand can write get a warning.

    Raises:
        UserError: the font cannot be used.
    """

    def __init__(
        self,
        save_dir: Path,
        names: Sequence[str],
        writers: Writers,
        *,
        format: str = "jpg",
        side_by_side: bool = False,
        font: Path | None = None,
    ) -> None:
        self.save_dir, self.names, self.writers = save_dir, names, writers
        self.format, self.side_by_side, self.font = format, side_by_side, font
        self.files = self.without_target = 0
        self._unwritten: list[SampleError] = []
        if font is not None:
            check_font(font)
        if missing := missing_glyphs(names, font):
            logging.warning("no font for %s in the class names: set predictor.font to one that has them", missing)

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hand the image's overlay to the writers.

        Raises:
            UserError: the image id leads out of the folder.
            WriterError: an earlier file could not be written.
        """
        path = overlay_path(self.save_dir, sample.image_id, self.format)
        self.writers.submit(path, lambda: self._save(path, sample, instances))
        self.files += 1
        self.without_target += self.side_by_side and sample.gt_mask is None

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """What was written, and how many images had no target to show beside.

        Raises:
            WriterError: a file could not be written.
        """
        self.writers.flush()
        unwritten = sorted(session.gather(self._unwritten), key=lambda failure: failure.image_id)
        summary.unwritten += unwritten
        files, without_target = session.sum(np.array([self.files, self.without_target])).tolist()
        lines = failure_lines(unwritten, [failure.image_id for failure in unwritten])
        lines.append(f"overlays: {files - len(unwritten)} images in {self.save_dir}")
        if without_target:
            lines.append(f"overlays: {without_target} images have no target to show beside")
        return lines

    def picture(self, sample: Sample, instances: Instances) -> np.ndarray:
        """The (H, W, 3) uint8 RGB overlay of one image."""
        return render(sample, instances, self.names, side_by_side=self.side_by_side, font=self.font)

    def _save(self, path: Path, sample: Sample, instances: Instances) -> None:
        """Writes the overlay of an image; called in a thread."""
        try:
            content = encode_image(self.picture(sample, instances), f".{self.format}", *ENCODING[self.format])
        except EncodingError as error:
            reason = f"no overlay: {error}; predictor.format=png can hold it"
            self._unwritten.append(SampleError(sample.image_id, sample.path, reason))
        else:
            atomic_write(path, content)


def render(
    sample: Sample, instances: Instances, names: Sequence[str], *, side_by_side: bool = False, font: Path | None = None
) -> np.ndarray:
    """The overlay of one image; instances with tracks show them, by number and by colour.

    Args:
        names: class names, indexed by class id.
        side_by_side: put the target beside the prediction, where the sample has one; it keeps the colours of classes.
        font: font file for the names; characters that it lacks come from other fonts.

    Returns:
        (H, W, 3) uint8 RGB; side by side it is wider than two images and has captions on top.
    """
    style = Style.for_image(sample.size, len(instances) if instances.track_ids is None else TAGS_OF_CLIPS, font)
    prediction = draw(sample.image, _instance_marks(instances, names), style)
    if not side_by_side or sample.gt_mask is None:
        return prediction
    target = draw(hatched(sample.image, sample.gt_mask == VOID, style), _target_marks(sample.gt_mask, names), style)
    return _beside({"prediction": prediction, "target": target}, style)


def _instance_marks(instances: Instances, names: Sequence[str]) -> list[Mark]:
    """The instances, the one that wins an overlapped pixel last."""
    detections, tracks, marks = instances.detections, instances.track_ids, []
    for i in instances.z_order():
        class_id, detail = int(detections.class_ids[i]), f"{detections.scores[i]:.2f}"
        color = class_color(class_id)
        if tracks is not None:
            color, detail = track_color(int(tracks[i])), f"{tracks[i]} {detail}"
        x1, y1, x2, y2 = (round(float(edge)) for edge in detections.boxes[i])
        marks.append(Mark(instances.masks[i], color, names[class_id], detail, (x1, y1, x2, y2), True))
    return marks


def _target_marks(target: np.ndarray, names: Sequence[str]) -> list[Mark]:
    """One mark for each class in a (H, W) uint8 target, its tag at the largest part."""
    counts, marks = value_counts(target), []
    for class_id, name in enumerate(names):
        if counts[label_of(class_id)]:
            mask = Mask.from_array(target == label_of(class_id))
            parts = cv2.connectedComponentsWithStats(mask.crop.view(np.uint8))[2][1:]
            largest = parts[parts[:, cv2.CC_STAT_AREA].argmax(), : cv2.CC_STAT_AREA]
            x1, y1, x2, y2 = (xywh_to_xyxy(largest) + np.tile(mask.offset, 2)).tolist()
            marks.append(Mark(mask, class_color(class_id), name, "", (x1, y1, x2, y2), boxed=False))
    return marks


def _beside(panels: dict[str, np.ndarray], style: Style) -> np.ndarray:
    """The (H, W, 3) panels in a row on a dark ground, each under its caption."""
    gap, columns = style.text // 2, []
    for caption, panel in panels.items():
        written = tag(caption, "", style.text, DARK, panel.shape[1], style.font)[:, : panel.shape[1]]
        column = np.full((written.shape[0] + gap + panel.shape[0], panel.shape[1] + gap, 3), DARK, np.uint8)
        column[: written.shape[0], : written.shape[1]] = written
        column[written.shape[0] + gap :, :-gap] = panel
        columns.append(column)
    return np.hstack(columns)[:, :-gap]


def overlay_path(save_dir: Path, image_id: str, format: str) -> Path:
    """Where an image's overlay goes or, as mp4, its clip's film; UserError if the id leads out of the folder."""
    return safe_path(save_dir, image_id.rpartition("/")[0] if format == "mp4" else image_id, f".{format}")
