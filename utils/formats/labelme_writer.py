"""Write labelme JSON (https://github.com/wkentaro/labelme): mask shapes, which 5.4 and later know, or polygons."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.files import open_regular
from utils.formats.base import MSG_POLYGON_IOU, Exported, Exporter, json_scores, nonempty, relative_path
from utils.formats.polygons import iou, polygons_to_correct, rasterize_labelme
from utils.formats.review_flags import confidences, flags_of
from utils.io.encoding import encode_image, encode_json
from utils.io.image_files import PHOTO_FORMATS, open_image
from utils.io.png_files import encode_bits
from utils.io.tiff_files import tiff_page
from utils.masks import Mask
from utils.structures import Instances, Sample

VERSION = "5.5.0"
"""labelme reads this key and ignores it; the format has been the same since mask shapes came."""

SHOWN_MODES = {"1", "L", "LA", "RGB", "RGBA"}
"""Modes of images that labelme opens by itself; of palette images only PNG survives its conversion."""

MSG_SPECKS = "specks and small holes left out of polygons"

MAX_JPEG_SIDE = 65500
"""Pixels that a side of a JPEG has at most."""


Parts = tuple[list[dict[str, Any]], dict[str, int], dict[str, float]]
"""The shapes of an object, with the keys that tell where it is, what they leave out, and how near they come to it."""


class LabelmeExporter(Exporter):
    """Write mask shapes, which hold every pixel."""

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make `<image_id>.json`; empty masks have no shape."""
        (kept, empty), tracks, least = nonempty(instances), instances.track_ids, confidences(instances)
        shapes, losses, measures = list[dict[str, Any]](), Counter(empty), defaultdict[str, list[float]](list)
        for i in kept:
            parts, left_out, fidelity = self.shapes(instances.masks[i])
            losses.update(left_out)
            for phrase, number in fidelity.items():
                measures[phrase].append(number)
            # Shapes of one group make up one object: where it has several, or has a track.
            group = int(tracks[i]) if tracks is not None else i if len(parts) > 1 else None
            shapes += [self._labelled(part, instances, i, group, least[i]) for part in parts]
        return Exported(
            {f"{sample.image_id}.json": self._file(sample, shapes)},
            shapes=len(shapes),
            losses=losses,
            measures=measures,
        )

    def shapes(self, mask: Mask) -> Parts:
        """Make the shape of an object."""
        left, top, right, bottom = mask.box.tolist()
        png = encode_bits(mask.packed(), mask.shape[1])  # straight from the bits in which masks leave a GPU
        corners = [[left, top], [right - 1, bottom - 1]]  # inclusive
        return [{"points": corners, "shape_type": "mask", "mask": base64.b64encode(png).decode()}], {}, {}

    def _labelled(
        self, shape: Mapping[str, Any], instances: Instances, i: int, group: int | None, confidence: float
    ) -> dict[str, Any]:
        """Complete a shape of instance `i`; with its confidence, another limit of the flag needs no model."""
        own = {"mask": shape["mask"]} if "mask" in shape else {}
        return {
            "label": self.settings.names[instances.detections.class_ids[i]],
            "points": shape["points"],
            "group_id": group,
            "description": "",
            "shape_type": shape["shape_type"],
            "flags": flags_of(confidence, self.settings.review_below),
            **own,
            **json_scores(instances, i),
            "confidence": confidence,
        }

    def _file(self, sample: Sample, shapes: Sequence[Mapping[str, Any]]) -> bytes:
        """Encode the file of an image, which it names relative to the place of the file."""
        height, width = sample.size
        photo = self.settings.photo(sample)
        annotation: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": relative_path(photo, (self.settings.folder / sample.image_id).parent),
            "imageData": None if photo != sample.path or _labelme_opens(photo) else _embedded(sample.image),
            "imageHeight": height,
            "imageWidth": width,
        }
        return encode_json(annotation, indent=2)


class LabelmePolygonExporter(LabelmeExporter):
    """Write polygons to be corrected by hand: few vertices, and no specks unless the tolerance is 0.

    Each part of a mask is a polygon, holes cut out; the parts of one mask share a `group_id`.
    """

    def shapes(self, mask: Mask) -> Parts:
        """Make the polygons of an object; measure their IoU, as labelme draws them, with the mask."""
        parts, left_out = polygons_to_correct(mask.crop, self.settings.tolerance)
        polygons = [{"points": (part + mask.offset).tolist(), "shape_type": "polygon"} for part in parts]
        overlap = iou(rasterize_labelme(parts, mask.crop.shape), mask.crop)
        return polygons, {MSG_SPECKS: left_out}, {MSG_POLYGON_IOU: overlap}


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
