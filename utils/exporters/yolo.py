"""YOLO-seg as ultralytics trains on it: https://docs.ultralytics.com/datasets/segment/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.encoding import encode_image
from utils.errors import SampleError
from utils.exporters.exporter import EMPTY, FRAME_SUFFIX, POLYGON_IOU, Exported, ExportSettings, counted, not_empty
from utils.exporters.frames import frame_file
from utils.image_files import is_video_name
from utils.polygons import as_ultralytics_draws, iou, joined, pixel_outlines
from utils.structures import Instances, Sample

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
            parts = pixel_outlines(mask.crop, self.settings.tolerance)
            ring = joined(parts)
            rows.append(_row(int(instances.detections.class_ids[i]), ring + mask.corner, instances.size))
            bridges += len(parts) - 1
            ious.append(iou(as_ultralytics_draws(ring, mask.crop.shape), mask.crop))
        stem = escaped(sample.image_id)
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


def escaped(image_id: str) -> str:
    """The id as a path in `images/`: a folder `images` in it becomes `images_`, and `images_` becomes `images__`.

    For ultralytics the last folder called `images` is the one beside `labels`.
    """
    folder, slash, name = image_id.rpartition("/")
    return "/".join(re.sub("^(images_*)$", r"\1_", part) for part in folder.split("/")) + slash + name


def unescaped(stem: str) -> str:
    """The id of an `escaped` path."""
    folder, slash, name = stem.rpartition("/")
    return "/".join(re.sub("^(images_*)_$", r"\1", part) for part in folder.split("/")) + slash + name


def reads_alike(sample: Sample, content: bytes) -> bool:
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
    if not reads_alike(sample, content):
        return {f"{path}.png": encode_image(sample.image, ".png")}, {}
    if content.startswith(JPEG) and not content.endswith(JPEG_END):
        return {path + suffix: content}, {}
    return {}, {path + suffix: sample.path}


def _row(class_id: int, ring: np.ndarray, size: tuple[int, int]) -> str:
    """`class_id x1 y1 ...` as shares of the image; a pixel's centre lies half a pixel from its edges."""
    shares = (ring + 0.5) / (size[1], size[0])
    return f"{class_id} {' '.join(f'{value:.6f}' for value in shares.ravel().tolist())}\n"
