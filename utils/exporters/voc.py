"""Pascal VOC: SegmentationClass, SegmentationObject and the split list."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from utils.classes import VOC_PALETTE, VOID
from utils.exporters.exporter import EMPTY, Exported, ExportSettings, counted, not_empty
from utils.structures import Instances, Sample

NAMES_FILE = "class_names.txt"
DEEP = "object maps in 16 bits without a palette, for more than 254 objects"
HIDDEN = "objects wholly under others, which index maps cannot hold"
OVERLAPS = "pixels of objects under others, which index maps cannot hold"


class VocExporter:
    """Index maps: a pixel belongs to one object only, the one that wins it everywhere else in a run, too.

    The i-th detection has the object number i, those from the 255th on one more: 255 is void.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """`SegmentationClass/<image_id>.png` and `SegmentationObject/<image_id>.png`, of the image as it is upright."""
        numbers = object_numbers(len(instances))
        objects = instances.painted(numbers)
        kept, visible = not_empty(instances), np.intersect1d(objects, numbers)
        overlaps = sum(mask.area for mask in instances.masks) - int(np.count_nonzero(objects))
        losses = {
            EMPTY: len(instances) - len(kept),
            HIDDEN: len(kept) - len(visible),
            OVERLAPS: overlaps,
            DEEP: int(numbers.dtype != np.uint8),
        }
        files = {
            f"SegmentationClass/{sample.image_id}.png": _png(instances.semantic()),
            f"SegmentationObject/{sample.image_id}.png": _png(objects),
        }
        return Exported(files, shapes=len(visible), losses=counted(losses))

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """The split list and the class names."""
        ids = "".join(f"{image_id}\n" for image_id, _ in records)
        names = "".join(f"{name}\n" for name in self.settings.names)
        split = PurePath(self.settings.split).name  # one read from elsewhere, such as ../Main/val, is written here
        return {
            f"ImageSets/Segmentation/{split}.txt": ids.encode("utf-8", "surrogateescape"),
            NAMES_FILE: names.encode(),
        }


def object_numbers(count: int) -> np.ndarray:
    """(count,) numbers of objects from 1, without 255; uint8, or uint16 where that cannot hold them."""
    numbers = np.arange(1, count + 1)
    numbers += numbers >= VOID
    return numbers.astype(np.uint8 if count < VOID else np.uint16)


def _png(indices: np.ndarray) -> bytes:
    """The index map as a PNG with VOC's palette; with 16 bits, which cannot have a palette, as grey."""
    picture = Image.fromarray(indices)
    if indices.dtype == np.uint8:
        picture.putpalette(VOC_PALETTE)
    contents = io.BytesIO()
    picture.save(contents, "PNG")
    return contents.getvalue()
