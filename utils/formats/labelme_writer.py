"""Write labelme JSON (https://github.com/wkentaro/labelme): mask shapes, which 5.4 and later know, or polygons."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.files import open_regular
from utils.formats.base import MSG_POLYGON_IOU, Exported, Exporter, ExportSettings, json_scores, nonempty, relative_path
from utils.formats.polygons import iou, polygons_to_correct, rasterize_labelme
from utils.formats.review_flags import confidences, flags_of
from utils.io.encoding import encode_image, encode_json
from utils.io.image_files import PHOTO_FORMATS, open_image
from utils.io.png_files import encode_bits
from utils.io.tiff_files import tiff_page
from utils.structures import Instances, Sample

VERSION = "5.5.0"
"""labelme reads this key and ignores it; the format has been the same since mask shapes came."""

SHOWN_MODES = {"1", "L", "LA", "RGB", "RGBA"}
"""Modes of images that labelme opens by itself; of palette images only PNG survives its conversion."""

MSG_SPECKS = "specks and small holes left out of polygons"

MAX_JPEG_SIDE = 65500
"""Pixels that a side of a JPEG has at most."""


class LabelmeExporter(Exporter):
    """Write mask shapes, which hold every pixel."""

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make `<image_id>.json`; empty masks have no shape."""
        (kept, losses), least = nonempty(instances), confidences(instances)
        shapes = [self._shape(instances, i, least[i]) for i in kept]
        files = {f"{sample.image_id}.json": labelme_file(sample, shapes, self.settings)}
        return Exported(files, shapes=len(shapes), losses=losses)

    def _shape(self, instances: Instances, i: int, confidence: float) -> dict[str, Any]:
        """Make the mask shape of instance `i`; its corners are inclusive."""
        mask, tracks = instances.masks[i], instances.track_ids
        left, top, right, bottom = mask.box.tolist()
        corners = [[left, top], [right - 1, bottom - 1]]
        group = None if tracks is None else int(tracks[i])
        png = encode_bits(mask.packed(), mask.shape[1])  # straight from the bits in which masks leave a GPU
        encoded = base64.b64encode(png).decode()
        return labelme_shape(instances, i, self.settings, "mask", corners, group, confidence, mask=encoded)


def labelme_file(sample: Sample, shapes: Sequence[Mapping[str, Any]], settings: ExportSettings) -> bytes:
    """Encode the labelme file of one image.

    Args:
        shapes: as `labelme_shape` makes them.
        settings: tell the format's folder, below which the file will lie; the image is named relative to that place.
    """
    height, width = sample.size
    photo = settings.photo(sample)
    annotation: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": relative_path(photo, (settings.folder / sample.image_id).parent),
        "imageData": None if photo != sample.path or _labelme_opens(photo) else _embedded(sample.image),
        "imageHeight": height,
        "imageWidth": width,
    }
    return encode_json(annotation, indent=2)


def labelme_shape(
    instances: Instances,
    i: int,
    settings: ExportSettings,
    kind: str,
    points: list[list[int]],
    group_id: int | None,
    confidence: float,
    **own: Any,
) -> dict[str, Any]:
    """Make a shape of instance `i`.

    Args:
        settings: tell the class names and the limit of the flag `needs_review`, which a person can tick.
        kind: labelme's `shape_type`.
        points: [x, y] in pixels.
        group_id: the same for shapes that make up one object.
        confidence: the expected IoU, or else the smallest confidence term; kept, so that another limit needs no model.
        own: keys that only shapes of this kind have.
    """
    return {
        "label": settings.names[instances.detections.class_ids[i]],
        "points": points,
        "group_id": group_id,
        "description": "",
        "shape_type": kind,
        "flags": flags_of(confidence, settings.review_below),
        **own,
        **json_scores(instances, i),
        "confidence": confidence,
    }


def _labelme_opens(path: Path) -> bool:
    """Return whether labelme can show the image file; it refuses CMYK and 16-bit grey, for example."""
    try:
        with open_regular(path) as file:
            if (page := tiff_page(file)) and page.is_odd:
                return False
            with open_image(file, PHOTO_FORMATS) as image:
                return image.mode in SHOWN_MODES or (image.mode == "P" and image.format == "PNG")
    except (OSError, ValueError):
        return False


def _embedded(image: npt.NDArray[np.uint8]) -> str:
    """Encode the (H, W, 3) uint8 RGB image as a base64 JPEG, or as a PNG where a side is too long for one."""
    suffix = ".jpg" if max(image.shape) <= MAX_JPEG_SIDE else ".png"
    return base64.b64encode(encode_image(image, suffix)).decode()


class LabelmePolygonExporter(Exporter):
    """Write polygons to be corrected by hand: few vertices, and no specks unless the tolerance is 0.

    Each part of a mask is a polygon, holes cut out; the parts of one mask share a `group_id`.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make `<image_id>.json`; measure the IoU of the polygons, as labelme draws them, with the masks."""
        shapes: list[dict[str, Any]] = []
        (kept, losses), ious = nonempty(instances), []
        least, specks = confidences(instances), 0
        for i in kept:
            crop = instances.masks[i].crop
            parts, left_out = polygons_to_correct(crop, self.settings.tolerance)
            shapes += self._shapes(instances, i, parts, least[i])
            ious.append(iou(rasterize_labelme(parts, crop.shape), crop))
            specks += left_out
        return Exported(
            {f"{sample.image_id}.json": labelme_file(sample, shapes, self.settings)},
            shapes=len(shapes),
            losses={**losses, MSG_SPECKS: specks},
            measures={MSG_POLYGON_IOU: ious} if ious else {},
        )

    def _shapes(
        self, instances: Instances, i: int, parts: list[npt.NDArray[np.int32]], confidence: float
    ) -> list[dict[str, Any]]:
        """Make the polygons of instance `i`; they need a group where there are several, or where it has a track."""
        mask, tracks = instances.masks[i], instances.track_ids
        group = int(tracks[i]) if tracks is not None else i if len(parts) > 1 else None
        polygons = [(part + mask.offset).tolist() for part in parts]
        settings = self.settings
        return [labelme_shape(instances, i, settings, "polygon", points, group, confidence) for points in polygons]
