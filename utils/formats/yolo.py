"""Write YOLO labels of masks, boxes and rotated boxes, and read those of masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from utils.boxes import box_of_points, corners_of_box, normalize, rotated_box_of_mask, xyxy_to_cxcywh
from utils.classes import find_class_names
from utils.errors import SampleError, UserError
from utils.formats.base import (
    FRAME_SUFFIX,
    MSG_POLYGON_IOU,
    Exported,
    Exporter,
    ExportSettings,
    encode_frame,
    nonempty,
)
from utils.formats.polygons import bridge_rings, filled_box, iou, polygons_on_pixel_centers, rasterize_ultralytics
from utils.formats.predictions import BOXES_ARE_PROMPTS, Predictions, box_doubts, ranked, visible_files
from utils.formats.yolo_labels import Label, LabelReader, escape_images_dir, label_files
from utils.io.encoding import encode_image
from utils.io.image_files import is_video_name
from utils.io.png_files import is_plain
from utils.masks import Mask
from utils.structures import Instances, Sample

DATA_YAML = "data.yaml"

TEXT_FILES = "*.[tT][xX][tT]"

MSG_BRIDGES = "parts joined to their object by a line, since a row has one polygon"

MSG_UPRIGHT = "rotated boxes larger than their image, written upright"

MSG_TINY_IMAGES = "images under 10 pixels, which ultralytics leaves out"

JPEG, JPEG_END, PNG = b"\xff\xd8", b"\xff\xd9", b"\x89PNG"

FILE_STARTS = {".jpg": JPEG, ".jpeg": JPEG, ".png": PNG, ".bmp": b"BM", ".webp": b"RIFF"}
"""Suffix -> first bytes of such a file, of the kinds that every version of ultralytics reads in the same way."""

SAME_IMAGES = """\
# ultralytics asks for both; before you trust a metric, validate on images that were not trained on
train: images
val: images
"""

SPLITS = ("train", "val", "test")
"""Those that ultralytics knows."""

STAND_INS = {"train": ("val", "test"), "val": ("test", "train")}
"""Split that ultralytics asks for -> those that take its place where there is none, the first one that there is."""

Rows = tuple[list[str], dict[str, int], dict[str, list[float]]]
"""Rows of labels, `Exported.losses` and `Exported.measures`."""


class YoloExporter(Exporter):
    """Write `labels/`, a row for each object; `images/`, links where ultralytics reads the same pixels; `data.yaml`."""

    class_list = DATA_YAML

    def __init__(self, settings: ExportSettings) -> None:
        super().__init__(settings)
        self._unlisted = 0
        self._stand_ins: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make `labels/<image_id>.txt` and `images/<image_id>.*`; an image without objects has an empty file.

        Raises:
            SampleError: the photo can no longer be read.
        """
        kept, empty = nonempty(instances)
        rows, losses, measures = self.rows(instances, kept)
        files, links = _photo(sample, photo_stem(sample.image_id))
        losses |= {**empty, MSG_TINY_IMAGES: int(min(sample.size) < 10)}
        return Exported(
            {label_file(sample.image_id): "".join(rows).encode(), **files},
            links,
            shapes=len(kept),
            losses=losses,
            measures=measures if kept else {},
        )

    def rows(self, instances: Instances, kept: Sequence[int]) -> Rows:
        """Format the labels of the instances at the indices `kept`, the one that wins an overlapped pixel last.

        Rows have no scores that say so, and readers let the later one win.
        """
        rows, bridges, ious = [], 0, []
        for i in (i for i in instances.z_order().tolist() if i in kept):
            mask = instances.masks[i]
            parts = polygons_on_pixel_centers(mask.crop, self.settings.tolerance)
            ring = bridge_rings(parts)
            # A pixel's centre lies half a pixel from its edges.
            rows.append(label_row(int(instances.detections.class_ids[i]), ring + mask.offset + 0.5, instances.size))
            bridges += len(parts) - 1
            ious.append(iou(rasterize_ultralytics(ring, mask.crop.shape), mask.crop))
        return rows, {MSG_BRIDGES: bridges}, {MSG_POLYGON_IOU: ious}

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Make `data.yaml`, without a path, so that the folder may be moved, and the list of images of each split."""
        quoted = (json.dumps(name, ensure_ascii=False) for name in self.settings.names)  # YAML reads it as JSON does
        names = "".join(f"  {i}: {name}\n" for i, name in enumerate(quoted))
        lists = {split: list[str]() for split in self.settings.splits.values()}
        for image_id, record in records if lists else ():
            photo = next((name for name in record["files"] if name.startswith("images/")), None)
            if photo and photo.splitlines() == [photo] == [photo.encode("utf-8", "ignore").decode()]:
                lists[self.settings.splits[image_id]].append(f"./{photo}\n")
            elif photo:
                self._unlisted += 1
        files = {f"{split}.txt": "".join(photos).encode() for split, photos in lists.items()}
        return {DATA_YAML: f"{self._splits_yaml(lists)}names:\n{names}".encode(), **files}

    def _splits_yaml(self, lists: Mapping[str, Sequence[str]]) -> str:
        """Name the list of each split that has an image; ultralytics refuses a file without train and val."""
        keys = {split: split for split in SPLITS if lists.get(split)}
        for split, others in STAND_INS.items():
            if split not in keys and (other := next((each for each in others if lists.get(each)), None)):
                keys[split] = other
        if not {"train", "val"} <= keys.keys():
            advice = "none of the splits is train, val or test" if lists else "auto_mask.splits divides them"
            self._stand_ins = [f"train and val of data.yaml are the same images; {advice}"]
            return SAME_IMAGES
        missing = [split for split, other in keys.items() if split != other]
        self._stand_ins = [
            f"{split} of data.yaml is {keys[split]}.txt, since no image is in {split}" for split in missing
        ]
        told = {split: f"  # there is no {split}" for split in missing}
        return "".join(f"{split}: {keys[split]}.txt{told.get(split, '')}\n" for split in sorted(keys, key=SPLITS.index))

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say what was written, and what is to be known before training."""
        unlisted = f"images whose names no list can hold, left out of the splits: {self._unlisted}"
        return [
            *super().summary_lines(shapes, images, folder),
            *self._stand_ins,
            *([unlisted] if self._unlisted else []),
        ]


class YoloDetectExporter(YoloExporter):
    """Write a dataset for a detector: each row is `class_id cx cy w h` of the tight box around a mask."""

    def rows(self, instances: Instances, kept: Sequence[int]) -> Rows:
        """Format the boxes as shares of the image."""
        rows = []
        for i in kept:
            box = xyxy_to_cxcywh(normalize(instances.masks[i].box.astype(float), instances.size))
            rows.append(f"{instances.detections.class_ids[i]} {' '.join(f'{value:.6f}' for value in box.tolist())}\n")
        return rows, {}, {}


class YoloObbExporter(YoloExporter):
    """Write a dataset for a detector of rotated boxes: each row is a class id and four corners.

    The box is the smallest rectangle around a mask. Its corners may lie outside the image, which ultralytics takes as
    long as the rectangle is no larger than the image; a larger one is written upright, tight around the mask.
    """

    def rows(self, instances: Instances, kept: Sequence[int]) -> Rows:
        """Format the corners as shares of the image."""
        rows, upright = [], 0
        for i in kept:
            mask = instances.masks[i]
            corners = rotated_box_of_mask(mask.crop) + mask.offset
            around = box_of_points(corners)
            if (around[2:] - around[:2] > instances.size[::-1]).any():
                corners, upright = corners_of_box(mask.box.astype(float)), upright + 1
            rows.append(label_row(int(instances.detections.class_ids[i]), corners, instances.size))
        return rows, {MSG_UPRIGHT: upright}, {}


def label_file(image_id: str) -> str:
    """Return the path of an image's labels below the format's folder."""
    return f"labels/{escape_images_dir(image_id)}.txt"


def photo_stem(image_id: str) -> str:
    """Return the path, without suffix, of an image below the format's folder."""
    return f"images/{escape_images_dir(image_id)}"


def ultralytics_reads_same_pixels(sample: Sample, content: bytes) -> bool:
    """Return whether every version of ultralytics sees the pixels of the sample in its file.

    It reads by cv2, which turns a JPEG by EXIF; other kinds are turned by some versions of cv2 only. Animated or
    damaged PNGs can end the process there.
    """
    start = FILE_STARTS.get(sample.path.suffix.lower())
    if start is None or not content.startswith(start) or (start == PNG and not is_plain(content)):
        return False
    flags = cv2.IMREAD_COLOR_RGB | (0 if start == JPEG else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # it has limits of its own
        return False
    return pixels is not None and np.array_equal(pixels, sample.image)


def _photo(sample: Sample, path: str) -> tuple[dict[str, bytes], dict[str, Path]]:
    """Make the photo a file or a link: to itself where ultralytics reads the same pixels, else a PNG of what we read.

    The frame of a video is a JPEG, and no link to the one that other formats name, so that the folder may be moved.
    A JPEG with bytes after its end is copied, since ultralytics saves such files anew, through a link if need be.
    """
    if is_video_name(sample.path.name):
        return {f"{path}{FRAME_SUFFIX}": encode_frame(sample.image)}, {}
    try:
        content, suffix = sample.path.read_bytes(), sample.path.suffix
    except OSError as error:
        raise SampleError(sample.image_id, sample.path, error.strerror or str(error)) from error
    if not ultralytics_reads_same_pixels(sample, content):
        return {f"{path}.png": encode_image(sample.image, ".png")}, {}
    if content.startswith(JPEG) and not content.endswith(JPEG_END):
        return {path + suffix: content}, {}
    return {}, {path + suffix: sample.path}


def label_row(class_id: int, points: npt.NDArray[np.floating], size: tuple[int, int]) -> str:
    """Format `class_id x1 y1 ...`, shares of the image, of (K, 2) points in pixels."""
    return f"{class_id} {' '.join(f'{value:.6f}' for value in (points / size[::-1]).ravel().tolist())}\n"


def polygon_mask(row: Label, size: tuple[int, int]) -> Mask:
    """Rasterize the polygon as ultralytics does; a box is filled."""
    points = row.points * (size[1], size[0])
    if len(points) == 2:
        return Mask.from_array(filled_box(points.ravel(), size))
    points = np.floor(points)
    first, last = points.min(axis=0), points.max(axis=0)
    if (first < 0).any() or (last >= size[::-1]).any():  # cv2 draws an edge that it cuts off in a way of its own
        return Mask.from_array(rasterize_ultralytics(points, size))
    height, width = (last - first).astype(int)[::-1] + 1
    return Mask.from_array(rasterize_ultralytics(points - first, (height, width))).moved(*first.astype(int).tolist())


class YoloLabels(Predictions):
    """YOLO-seg labels: a text file per image, in the folder or in `labels/` below it."""

    title, complete = "YOLO labels", True

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and bool(label_files(path, visible_files(path, TEXT_FILES)))

    def _open(self) -> Sequence[str]:
        self._files = label_files(self.path, visible_files(self.path, TEXT_FILES))
        own = find_class_names(self.path)
        self._reader = LabelReader(self._files.values(), keypoints=own.keypoints if own else 0)
        listed, place = (self.index.names, self.path) if own is None else (own.names, own.path)
        rows = [(each, row) for each in self._files.values() for row in self._reader.labels(each)]
        self._boxes = box_doubts(self.path, (len(row.points) > 2 for _, row in rows))
        self._are_quadrangles = {len(row.points) for _, row in rows} == {4}
        self._class_ids: dict[int, int] = {}
        for each, row in rows:
            if not 0 <= (number := row.class_id) < len(listed):
                raise UserError(f"{each}:{row.line}: the class {number} is outside the {len(listed)} classes")
            self._class_ids[number] = self.index.class_id(listed[number], f"{place}: names[{number}]")
        return [*self._files]

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        rows = self._reader.labels(self._files[key])
        scored = any(row.confidence < 1 for row in rows)
        found = Instances.from_masks(
            size,
            [self._class_ids[row.class_id] for row in rows],
            [polygon_mask(row, size) for row in rows],
            [row.confidence for row in rows],
        )
        return ranked(found) if scored else found

    def doubts(self) -> list[str]:
        if self._are_quadrangles:
            fact = f"{self.path}: every outline has four corners, as oriented boxes have"
            return [*self._boxes, f"{fact}: they count as masks; {BOXES_ARE_PROMPTS}"]
        advice = "`yolo predict` writes the surest first: with save_conf=True it adds confidences"
        return [*self._boxes, *self.order_doubts(advice)]

    def _problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        if size:
            self.note_order(self.read(key, size))
        return []
