"""YOLO segmentation labels: written and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.boxes import box_of_points, cxcywh_to_xyxy
from utils.classes import ClassIndex, yaml_names
from utils.errors import SampleError, UserError
from utils.formats.base import EMPTY, FRAME_SUFFIX, POLYGON_IOU, Exported, ExportSettings, counted, not_empty
from utils.formats.frames import frame_file
from utils.formats.polygons import filled_box, iou, joined, polygons_on_pixel_centers, rasterize_ultralytics
from utils.io.encoding import encode_image
from utils.io.image_files import image_size, is_image_name, is_video_name
from utils.masks import Mask
from utils.structures import Instances, Sample

LOWEST, HIGHEST = -0.01, 1.01
"""What ultralytics, too, takes for a share of an image's side; rounding leads a little beyond 0 and 1."""


@dataclass(frozen=True)
class Label:
    """One row.

    Attributes:
        line: its number in the file, from 1.
        class_id: from 0.
        points: (K, 2) float64 x y, shares of the image's width and height: the polygon of a segment row, K >= 3, or
            the upper left and the lower right corner of a box row, K = 2.
        confidence: in [0, 1]; 1 where the row has none.
    """

    line: int
    class_id: int
    points: np.ndarray
    confidence: float

    def box(self) -> np.ndarray:
        """The tight box, (4,) float64 x1 y1 x2 y2."""
        return box_of_points(self.points)


def read_labels(path: Path) -> list[Label]:
    """The rows of a label file, in its order; blank lines are none.

    Raises:
        UserError: the file cannot be read, or a line is no such row.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return [_label(line.split(), number, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _label(words: list[str], line: int, place: str) -> Label:
    try:
        class_id, numbers = int(words[0]), np.array(words[1:], np.float64)
    except (OverflowError, ValueError):
        raise UserError(f"{place}: expected an integer, the class, and numbers") from None
    if len(numbers) < 4:
        raise UserError(f"{place}: expected a class and at least four numbers, found {len(numbers)}")
    # A box has four numbers, a polygon an even number of them from six on; one more is the confidence.
    coordinates, confidence = numbers[: len(numbers) // 2 * 2], numbers[-1] if len(numbers) % 2 else 1.0
    if not ((coordinates >= LOWEST) & (coordinates <= HIGHEST)).all():
        raise UserError(f"{place}: the coordinates are no shares of the image's width and height, from 0 to 1")
    if not 0 <= confidence <= 1:
        raise UserError(f"{place}: the confidence, {confidence:g}, is not within 0 to 1")
    points = (cxcywh_to_xyxy(coordinates) if len(coordinates) == 4 else coordinates).reshape(-1, 2)
    return Label(line, class_id, points, float(confidence))


BRIDGES = "parts joined to their object by a line, since a row has one polygon"

TINY = "images under 10 pixels, which ultralytics leaves out"

JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"

TAKEN = {".jpg": JPEG, ".jpeg": JPEG, ".png": b"\x89PNG", ".bmp": b"BM", ".webp": b"RIFF"}
"""Suffix -> how such a file begins, of the kinds that every version of ultralytics reads in the same way."""

YAML = """\
# ultralytics asks for both; before you trust a metric, validate on images that were not trained on
train: images
val: images
names:
"""


class YoloExporter:
    """`labels/`, a row for each object; `images/`, links where ultralytics reads the photo as we do; `data.yaml`."""

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """`labels/<image_id>.txt` and `images/<image_id>.*`; an image without objects has an empty file.

        Raises:
            SampleError: the photo can no longer be read.
        """
        kept, bridges, ious, rows = not_empty(instances), 0, [], []
        for i in kept:
            mask = instances.masks[i]
            parts = polygons_on_pixel_centers(mask.crop, self.settings.tolerance)
            ring = joined(parts)
            rows.append(_row(int(instances.detections.class_ids[i]), ring + mask.offset, instances.size))
            bridges += len(parts) - 1
            ious.append(iou(rasterize_ultralytics(ring, mask.crop.shape), mask.crop))
        stem = escape_images_dir(sample.image_id)
        files, links = _image(sample, f"images/{stem}")
        losses = {
            EMPTY: len(instances) - len(kept),
            BRIDGES: bridges,
            TINY: int(min(sample.size) < 10),
        }
        return Exported(
            {f"labels/{stem}.txt": "".join(rows).encode(), **files},
            links,
            shapes=len(kept),
            losses=counted(losses),
            measures={POLYGON_IOU: ious} if ious else {},
        )

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """`data.yaml`, without a path, so that the folder may be moved."""
        quoted = (json.dumps(name, ensure_ascii=False) for name in self.settings.names)  # YAML reads it as JSON does
        return {"data.yaml": (YAML + "".join(f"  {i}: {name}\n" for i, name in enumerate(quoted))).encode()}


def escape_images_dir(image_id: str) -> str:
    """The id as a path in `images/`: a folder `images` in it becomes `images_`, and `images_` becomes `images__`.

    For ultralytics the last folder called `images` is the one beside `labels`.
    """
    folder, slash, name = image_id.rpartition("/")
    return "/".join(re.sub("^(images_*)$", r"\1_", part) for part in folder.split("/")) + slash + name


def unescape_images_dir(stem: str) -> str:
    """The id of an `escape_images_dir` path."""
    folder, slash, name = stem.rpartition("/")
    return "/".join(re.sub("^(images_*)_$", r"\1", part) for part in folder.split("/")) + slash + name


def ultralytics_reads_same_pixels(sample: Sample, content: bytes) -> bool:
    """Whether ultralytics, any version of it, sees the pixels of the sample in its file.

    It reads by cv2, which turns a JPEG by EXIF; other kinds are turned by some versions of cv2 only.
    """
    begin = TAKEN.get(sample.path.suffix.lower())
    if begin is None or not content.startswith(begin):
        return False
    flags = cv2.IMREAD_COLOR if begin == JPEG else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return pixels is not None and np.array_equal(pixels[:, :, ::-1], sample.image)


def _image(sample: Sample, path: str) -> tuple[dict[str, bytes], dict[str, Path]]:
    """The photo as a file or a link: itself where ultralytics reads it alike, else a PNG of what we read.

    The frame of a video is a JPEG, and no link to the one that other formats name, so that the folder may be moved.
    A JPEG with bytes after its end is copied, since ultralytics saves such files anew, through a link if need be.
    """
    if is_video_name(sample.path.name):
        return {f"{path}{FRAME_SUFFIX}": frame_file(sample.image)}, {}
    try:
        content, suffix = sample.path.read_bytes(), sample.path.suffix
    except OSError as error:
        raise SampleError(sample.image_id, sample.path, error.strerror or str(error)) from error
    if not ultralytics_reads_same_pixels(sample, content):
        return {f"{path}.png": encode_image(sample.image, ".png")}, {}
    if content.startswith(JPEG) and not content.endswith(JPEG_END):
        return {path + suffix: content}, {}
    return {}, {path + suffix: sample.path}


def _row(class_id: int, ring: np.ndarray, size: tuple[int, int]) -> str:
    """`class_id x1 y1 ...` as shares of the image; a pixel's centre lies half a pixel from its edges."""
    shares = (ring + 0.5) / (size[1], size[0])
    return f"{class_id} {' '.join(f'{value:.6f}' for value in shares.ravel().tolist())}\n"


def read_yolo(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """The annotations of a folder that holds `images/` and `labels/`, in the order of the images' paths.

    Class ids are those of `data.yaml`, or of `names` where there is none; an image without a label file has no objects.

    Args:
        names: class names, indexed by class id.

    Raises:
        UserError: there are no images, a file cannot be read, a row is malformed, or a class is none of `names`.
    """
    images = sorted(path for path in (folder / "images").rglob("*") if is_image_name(path.name))
    if not images:
        raise UserError(f"{folder / 'images'}: no images, by whose sizes labels are read")
    class_ids = _class_ids(folder / "data.yaml", names)
    for image in images:
        stem = image.relative_to(folder / "images").with_suffix("").as_posix()
        yield unescape_images_dir(stem), yolo_instances(folder / "labels" / f"{stem}.txt", _size_of(image), class_ids)


def yolo_instances(path: Path, size: tuple[int, int], class_ids: Sequence[int]) -> Instances:
    """The instances of a label file, in the order of its rows; none where there is no file.

    Args:
        size: (height, width) of the upright image.
        class_ids: what the rows' class ids mean.

    Raises:
        UserError: the file cannot be read, a row is malformed, or a class id has no meaning.
    """
    rows = read_labels(path) if path.is_file() else []
    for row in rows:
        if not 0 <= row.class_id < len(class_ids):
            raise UserError(f"{path}:{row.line}: the class {row.class_id} is outside the {len(class_ids)} classes")
    return Instances.from_masks(
        size,
        [class_ids[row.class_id] for row in rows],
        [_mask(row, size) for row in rows],
        [row.confidence for row in rows],
    )


def _mask(row: Label, size: tuple[int, int]) -> Mask:
    """The polygon as ultralytics draws it; a box is filled."""
    points = row.points * (size[1], size[0])
    if len(points) == 2:
        return Mask.from_array(filled_box(points.ravel(), size))
    return Mask.from_array(rasterize_ultralytics(np.floor(points), size))


def _class_ids(path: Path, names: Sequence[str]) -> list[int]:
    """The class id that each class id of a `data.yaml` means."""
    if not path.is_file():
        return list(range(len(names)))
    index = ClassIndex(names)
    return [index.class_id(name, f"{path}: names[{i}]") for i, name in enumerate(yaml_names(path))]


def _size_of(image: Path) -> tuple[int, int]:
    try:
        return image_size(image)
    except ValueError as error:
        raise UserError(f"{image}: {error}") from error
