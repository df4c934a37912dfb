"""Overlays: the photograph with mask, outline, box, name and score of each instance, and its track in a clip."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from utils.boxes import xywh_to_xyxy
from utils.classes import VOID, label_of
from utils.cli.outputs import overlay_path
from utils.config import PredictorConfig
from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.errors import SampleError, UserError
from utils.formats.base import RECORDS, relative_path
from utils.io.encoding import EncodingError, encode_image
from utils.io.image_files import is_photo_gone, is_video_name
from utils.io.json_files import read_json
from utils.io.terminal import counted, warn
from utils.io.writers import Writers, atomic_write, is_inside, remove_files
from utils.label_maps import value_counts
from utils.masks import Mask
from utils.structures import Instances, Sample
from utils.visual.colors import DARK, class_color, track_color
from utils.visual.drawing import Mark, Style, check_font, draw_marks, draw_tag, hatch, missing_glyphs

# Full color resolution: with JPEG's default of half of it, thin colored lines blur.
ENCODING = {
    "jpg": (cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "png": (),
}

TAGS_OF_CLIPS = 12
"""Number of tags for which the text of a clip is sized, whatever a frame contains, so that all frames look alike."""


class OverlaySink:
    """Writes `<save_dir>/<image_id>.jpg` or `.png` for each image of the run.

    Args:
        config: where overlays go and what they show. Characters in names that no available font has cause a warning.
        names: class names, indexed by class id.
        writers: threads that draw, encode and write.
        prune: remove overlays of earlier runs whose photo is gone.

    Raises:
        UserError: the font cannot be used.
    """

    def __init__(self, config: PredictorConfig, names: Sequence[str], writers: Writers, *, prune: bool = False) -> None:
        self.config, self.names, self.writers, self._prune = config, names, writers, prune
        self._made: dict[str, Path] = {}
        self.files = self.without_target = 0
        self._unwritten: list[SampleError] = []
        if config.font is not None:
            check_font(config.font)
        if "names" in config.show and (missing := missing_glyphs(names, config.font)):
            warn([f"no font for {missing} in the class names: set predictor.font to one that has them"])

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hand the image's overlay to the writers.

        Raises:
            UserError: the image id leads out of the folder.
            WriterError: an earlier file could not be written.
        """
        path = overlay_path(self.config.save_dir, sample.image_id, self.config.format)
        self.writers.submit(path, lambda: self._save(path, sample, instances))
        self._count(sample)

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Wait for the writers; return lines about the number of overlays and missing ground truth.

        Raises:
            WriterError: a file could not be written.
        """
        self.writers.flush()
        unwritten = session.gather(self._unwritten)
        files, without_target = session.sum(np.array([self.files, self.without_target])).tolist()
        lines = [f"overlays: {counted(files - len(unwritten), 'image')} in {self.config.save_dir}"]
        if without_target:
            lines.append(f"overlays: {counted(without_target, 'image has', 'images have')} no target to show beside")
        made = dict(session.gather([*self._made.items()]))
        if session.is_main:
            for failure in unwritten:
                made.pop(self._name(failure.image_id), None)
            lines += _record_overlays(self.config.save_dir, made, prune=self._prune)
        return SinkReport(lines, unwritten)

    def _name(self, image_id: str) -> str:
        folder = self.config.save_dir
        return overlay_path(folder, image_id, self.config.format).relative_to(folder).as_posix()

    def _count(self, sample: Sample) -> None:
        """Note the source of an overlay; that of a clip is its video file, or the folder of its frames."""
        self.files += 1
        of_folder = self.config.format == "mp4" and not is_video_name(sample.path.name)
        self._made[self._name(sample.image_id)] = sample.path.parent if of_folder else sample.path
        self.without_target += self.config.side_by_side and sample.gt_mask is None

    def _save(self, path: Path, sample: Sample, instances: Instances) -> None:
        """Write the overlay of an image; runs in a thread."""
        try:
            format = self.config.format
            content = encode_image(render(sample, instances, self.names, self.config), f".{format}", *ENCODING[format])
        except EncodingError as error:
            reason = f"no overlay: {error}; predictor.format=png can hold it"
            self._unwritten.append(SampleError(sample.image_id, sample.path, reason))
        else:
            atomic_write(path, content)


def render(
    sample: Sample, instances: Instances, names: Sequence[str], config: PredictorConfig | None = None
) -> npt.NDArray[np.uint8]:
    """Draw the overlay of one image.

    Args:
        names: class names, indexed by class id.
        config: what to show; None: the defaults.

    Returns:
        (H, W, 3) RGB; side by side with the ground truth, which has the colors of classes, it is wider than two images
        and has captions on top.
    """
    config = config or PredictorConfig()
    style = Style.for_image(sample.size, len(instances) if instances.track_ids is None else TAGS_OF_CLIPS, config)
    prediction = draw_marks(sample.image, _instance_marks(instances, names, config), style)
    if not config.side_by_side or sample.gt_mask is None:
        return prediction
    hatched = hatch(sample.image, sample.gt_mask == VOID, style)
    target = draw_marks(hatched, _gt_marks(sample.gt_mask, names, config), style)
    return _beside({"prediction": prediction, "target": target}, style)


def _instance_marks(instances: Instances, names: Sequence[str], config: PredictorConfig) -> list[Mark]:
    """Make a mark for each instance, in z-order: the one that wins overlapped pixels last."""
    detections, tracks, marks = instances.detections, instances.track_ids, []
    by_object = config.color == "object" or (config.color is None and tracks is not None)
    for i in instances.z_order().tolist():
        class_id, number = int(detections.class_ids[i]), i + 1 if tracks is None else int(tracks[i])
        details = [f"{number}"] if "ids" in config.show and tracks is not None else []
        details += [f"{detections.scores[i]:.2f}"] if "scores" in config.show else []
        color = track_color(number) if by_object else class_color(class_id)
        name = names[class_id] if "names" in config.show else ""
        x1, y1, x2, y2 = (round(float(edge)) for edge in detections.boxes[i])
        boxed = "boxes" in config.show
        marks.append(Mark(instances.masks[i], color, name, " ".join(details), (x1, y1, x2, y2), boxed))
    return marks


def _gt_marks(gt_mask: np.ndarray, names: Sequence[str], config: PredictorConfig) -> list[Mark]:
    """Make a mark for each class in a (H, W) uint8 label map, with the tag at its largest part."""
    counts, marks = value_counts(gt_mask), []
    for class_id, name in enumerate(names):
        if counts[label_of(class_id)]:
            mask = Mask.from_array(gt_mask == label_of(class_id))
            parts = cv2.connectedComponentsWithStats(mask.crop.view(np.uint8))[2][1:]
            largest = parts[parts[:, cv2.CC_STAT_AREA].argmax(), : cv2.CC_STAT_AREA]
            x1, y1, x2, y2 = (xywh_to_xyxy(largest) + np.tile(mask.offset, 2)).tolist()
            shown = name if "names" in config.show else ""
            marks.append(Mark(mask, class_color(class_id), shown, "", (x1, y1, x2, y2), boxed=False))
    return marks


def _beside(panels: dict[str, np.ndarray], style: Style) -> np.ndarray:
    """Put (H, W, 3) panels in a row on a dark background, each under its caption."""
    gap, columns = style.text // 2, []
    for caption, panel in panels.items():
        tag = draw_tag(caption, "", style.text, DARK, panel.shape[1], style.font)[:, : panel.shape[1]]
        column = np.full((tag.shape[0] + gap + panel.shape[0], panel.shape[1] + gap, 3), DARK, np.uint8)
        column[: tag.shape[0], : tag.shape[1]] = tag
        column[tag.shape[0] + gap :, :-gap] = panel
        columns.append(column)
    return np.hstack(columns)[:, :-gap]


def _record_overlays(folder: Path, made: Mapping[str, Path], *, prune: bool) -> list[str]:
    """Add the overlays of a run to the records of a folder; find those whose photo is gone.

    By the records the overlays of deleted photos are known, and no later run takes overlays for photos.

    Args:
        folder: where overlays lie.
        made: the photo or the video of each overlay that the run made, by its path below the folder.
        prune: remove the overlays whose photo is gone.

    Returns:
        a line about overlays without photo, or none.

    Raises:
        WriterError: a file cannot be written or removed.
    """
    known, real = _read_records(folder / RECORDS), Path(os.path.realpath(folder))
    gone = {name for name, photo in known.items() if name not in made and is_photo_gone(real / photo, name)}
    present = {name for name in gone if os.path.lexists(folder / name)}
    if prune:
        remove_files(folder, present)
    forgotten = gone if prune else gone - present
    content = {name: photo for name, photo in known.items() if name not in forgotten}
    content |= {name: relative_path(photo, folder) for name, photo in made.items()}
    if content != known:
        atomic_write(folder / RECORDS, json.dumps(content, sort_keys=True).encode())
    if not present:
        return []
    what = "removed" if prune else f"such as {min(present)}; --prune removes them"
    return [f"overlays: {counted(len(present), 'overlay')} without photo, {what}"]


def _read_records(path: Path) -> dict[str, str]:
    """Read the records; none where there is no such file, or it was damaged. What names no file inside is left out."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    sound = isinstance(content, dict) and all(isinstance(photo, str) for photo in content.values())
    return {name: photo for name, photo in content.items() if is_inside(path.parent, name)} if sound else {}
