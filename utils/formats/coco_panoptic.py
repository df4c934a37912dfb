"""Write COCO panoptic annotations (https://cocodataset.org/#format-data): a map of segments per image, and a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.boxes import xyxy_to_xywh
from utils.classes import label_of
from utils.errors import SampleError
from utils.formats.base import Exported, nonempty
from utils.formats.coco import CocoExporter
from utils.formats.voc import MSG_HIDDEN, MSG_OVERLAPS
from utils.io.encoding import encode_image
from utils.io.json_files import read_json
from utils.masks import Mask
from utils.structures import Instances, Sample

PANOPTIC_FOLDER = "panoptic"
"""Where the maps lie, below the format's folder; panopticapi looks there by itself, since the file has that name."""


def panoptic_map(image_id: str) -> str:
    """Return the path of an image's map below the format's folder."""
    return f"{PANOPTIC_FOLDER}/{image_id}.png"


class CocoPanopticExporter(CocoExporter):
    """Write `panoptic/<image_id>.png` and one `panoptic.json`, or one of each split. All classes are things.

    A pixel belongs to one object only, the one that wins it everywhere else in a run, too. A segment's id in the map is
    R + 256 G + 65536 B: the number of the detection from 1, in a clip that of its track.
    """

    file_name, class_list = f"{PANOPTIC_FOLDER}.json", f"{PANOPTIC_FOLDER}*.json"
    category_keys: ClassVar = {"supercategory": "", "isthing": 1}

    def read_class_list(self, path: Path) -> Sequence[str]:
        """Read the names of the categories."""
        return [str(category["name"]) for category in read_json(path)["categories"]]

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the map and a record with the image's entry and its one annotation.

        Raises:
            SampleError: it has a track of a number that three bytes cannot hold, or 0, which is no segment.
        """
        tracks = instances.track_ids
        if tracks is not None and len(odd := tracks[(tracks < 1) | (tracks >= 1 << 24)]):
            raise SampleError(sample.image_id, sample.path, f"no panoptic map holds the track {odd[0]}")
        numbers = (np.arange(1, len(instances) + 1) if tracks is None else tracks).astype(np.uint32)
        objects, segments = instances.rasterize(numbers), []
        kept, losses = nonempty(instances)
        for i in kept:
            slices, class_id = instances.masks[i].slices, int(instances.detections.class_ids[i])
            visible = Mask.from_array(objects[slices] == numbers[i])
            if not visible.crop.size:
                continue
            box = visible.box + np.tile(instances.masks[i].offset, 2)
            segment: dict[str, Any] = {"id": int(numbers[i]), "category_id": label_of(class_id), "iscrowd": 0}
            segments.append(segment | {"bbox": xyxy_to_xywh(box).tolist(), "area": visible.area})
        colors = np.stack([objects >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        path = panoptic_map(sample.image_id)
        annotation = {"file_name": path.removeprefix(f"{PANOPTIC_FOLDER}/"), "segments_info": segments}
        return Exported(
            {path: encode_image(colors, ".png")},
            record=self.record_of(sample, [annotation]),
            shapes=len(segments),
            losses={
                **losses,
                MSG_HIDDEN: len(kept) - len(segments),
                MSG_OVERLAPS: sum(mask.area for mask in instances.masks) - int(np.count_nonzero(objects)),
            },
        )
