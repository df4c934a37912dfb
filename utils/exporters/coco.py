"""COCO instances JSON: https://cocodataset.org/#format-data; pycocotools encodes the masks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from utils.classes import label_of
from utils.encoding import encode_json
from utils.exporters.coco_videos import Videos, frame_record
from utils.exporters.exporter import EMPTY, POLYGON_IOU, Exported, ExportSettings, counted, not_empty, number
from utils.masks import Mask
from utils.polygons import as_pycocotools_draws, edge_outlines, iou
from utils.structures import Instances, Sample

FILE_NAME = "instances.json"


class CocoExporter:
    """One file of all images: ids count from 1 in the order of the run, a category's id is its class id + 1.

    Of clips it has the videos and tracks, too, in TAO's form.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """No file; the record is the image's entry and its annotations, without ids."""
        kept, ious, annotations = not_empty(instances), [], []
        for i in kept:
            mask = instances.masks[i]
            if self.settings.segmentation == "rle":
                segmentation: Any = _rle(mask, instances.size)
            else:
                rings = edge_outlines(mask.crop, self.settings.tolerance)
                segmentation = [(ring + mask.corner).ravel().tolist() for ring in rings]
                ious.append(iou(as_pycocotools_draws(rings, mask.crop.shape), mask.crop))
            annotations.append(_annotation(instances, i, segmentation))
        height, width = sample.size
        # The name below JPEGImages or the source folder, which is what tools take as the folder of images.
        name = sample.image_id + self.settings.photo(sample).suffix
        image = {"file_name": name, "height": height, "width": width}
        return Exported(
            {},
            record={"image": image, "annotations": annotations, **frame_record(sample)},
            shapes=len(kept),
            losses=counted({EMPTY: len(instances) - len(kept)}),
            measures={POLYGON_IOU: ious} if ious else {},
        )

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """`instances.json`; of the records only the images' entries are kept in memory beside the file itself."""
        file, images, videos, count = io.BytesIO(), list[bytes](), Videos(), 0
        categories = [
            {"id": label_of(class_id), "name": name, "supercategory": ""}
            for class_id, name in enumerate(self.settings.names)
        ]
        file.write(b'{"info": {}, "licenses": [], "categories": ' + encode_json(categories) + b', "annotations": [')
        for image_id, (_, record) in enumerate(records, 1):
            place = videos.of_image(record)
            images.append(encode_json({"id": image_id, **record["image"], **place}))
            for annotation in record["annotations"]:
                file.write(b",\n" if count else b"\n")
                count += 1
                ids = {"id": count, "image_id": image_id}
                file.write(encode_json({**ids, **annotation, **videos.of_annotation(place, annotation)}))
        file.write(b'], "images": [\n' + b",\n".join(images) + b"]")
        for name, entries in videos.lists().items():
            file.write(b', "' + name.encode() + b'": [\n' + b",\n".join(map(encode_json, entries)) + b"]")
        file.write(b"}\n")
        return {FILE_NAME: file.getvalue()}


def _annotation(instances: Instances, i: int, segmentation: Any) -> dict[str, Any]:
    """What COCO knows of instance `i`, with a box tight around the mask, and what our masks have beyond that."""
    mask, tracks = instances.masks[i], instances.track_ids
    height, width = mask.crop.shape
    beyond = {
        "score": number(instances.detections.scores[i]),
        "mask_score": number(instances.mask_scores[i]),
        "track_id": None if tracks is None else int(tracks[i]),
    }
    return {
        "category_id": label_of(int(instances.detections.class_ids[i])),
        "bbox": [mask.left, mask.top, width, height],
        "area": mask.area,
        "iscrowd": 0,
        "segmentation": segmentation,
        **{key: value for key, value in beyond.items() if value is not None},
    }


def _rle(mask: Mask, size: tuple[int, int]) -> dict[str, Any]:
    """The mask as compressed run lengths."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask.full(size).view(np.uint8)))
    return {"size": list(size), "counts": encoded["counts"].decode("ascii")}
