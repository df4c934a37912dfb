"""COCO instances: written, with videos and tracks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np

from utils.boxes import xyxy_to_xywh
from utils.classes import label_of
from utils.formats.base import MSG_POLYGON_IOU, Exported, Exporter, json_scores, nonempty
from utils.formats.polygons import iou, polygons_on_pixel_edges, rasterize_coco
from utils.io.encoding import encode_json
from utils.masks import Mask
from utils.structures import Instances, Sample

FILE_NAME = "instances.json"


def split_file(split: str, whole: str = FILE_NAME) -> str:
    """Return the name of the file of a split, where there are several; `whole` is that of a single one."""
    return whole.replace(".json", f"_{split}.json")


class CocoExporter(Exporter):
    """Write one file of all images, or of each split: ids count from 1 in the order of the run.

    A category's id is its class id + 1.

    Of clips it has the videos and tracks, too, as TAO has them.
    """

    file_name = FILE_NAME
    category_keys: ClassVar[Mapping[str, Any]] = {"supercategory": ""}

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make no file, but a record: the image's entry and its annotations, without ids."""
        (kept, losses), ious, annotations = nonempty(instances), [], []
        for i in kept:
            mask = instances.masks[i]
            if self.settings.segmentation == "rle":
                segmentation: Any = _rle(mask, instances.size)
            else:
                rings = polygons_on_pixel_edges(mask.crop, self.settings.tolerance)
                segmentation = [(ring + mask.offset).ravel().tolist() for ring in rings]
                ious.append(iou(rasterize_coco(rings, mask.crop.shape), mask.crop))
            annotations.append(_annotation(instances, i, segmentation))
        return Exported(
            {},
            record=self.record_of(sample, annotations),
            shapes=len(kept),
            losses=losses,
            measures={MSG_POLYGON_IOU: ious} if ious else {},
        )

    def record_of(self, sample: Sample, annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make the record of an image: its entry and its annotations, without ids, and its place in a clip."""
        height, width = sample.size
        # The name below JPEGImages or the source folder, which is what tools take as the folder of images.
        photo = self.settings.photo(sample)
        has_suffix = PurePosixPath(sample.image_id).name == photo.name  # of photos that differ in nothing else
        name = sample.image_id if has_suffix else sample.image_id + photo.suffix
        image = {"file_name": name, "height": height, "width": width}
        frame = {"frame": {"clip": sample.frame.clip, "index": sample.frame.index}} if sample.frame else {}
        return {"image": image, "annotations": annotations, **frame}

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record is that of an image, as far as `assemble` looks into it."""
        image, annotations, frame = (record.get(key) for key in ("image", "annotations", "frame"))
        if not isinstance(image, dict) or not isinstance(annotations, list):
            return False
        name = image.get("file_name")
        if not isinstance(name, str) or name not in (image_id, image_id + PurePosixPath(name).suffix):
            return False
        keys = ("category_id", *(["track_id"] if "frame" in record else []))
        rows = all(isinstance(row, dict) and all(type(row.get(key, 0)) is int for key in keys) for row in annotations)
        if "frame" not in record:
            return rows
        clip = frame.get("clip") if isinstance(frame, dict) and type(frame.get("index")) is int else None
        return rows and isinstance(clip, str) and image_id.startswith(clip)

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Make the file, or that of each split, as `instances.json` or `instances_<split>.json`."""
        splits = self.settings.splits.values()
        names = {split: split_file(split, self.file_name) for split in splits} or {"": self.file_name}
        categories = [
            {"id": label_of(class_id), "name": name, **self.category_keys}
            for class_id, name in enumerate(self.settings.names)
        ]
        files = {split: _CocoFile(categories) for split in names}
        for image_id, record in records:
            files[self.settings.splits.get(image_id, "")].add(record)
        return {names[split]: file.content() for split, file in files.items()}


class _CocoFile:
    """A file in the making; of the records only the images' entries are kept in memory beside the file itself.

    Videos and tracks get their ids here, which count from 1 in the order in which they appear. The id of a track counts
    from 1 in its clip until then; its class is that of its last annotation.
    """

    def __init__(self, categories: Sequence[Mapping[str, Any]]) -> None:
        self._file, self._images, self._count = io.BytesIO(), list[bytes](), 0
        self._videos, self._tracks = dict[str, int](), dict[tuple[int, int], dict[str, int]]()
        start = b'{"info": {}, "licenses": [], "categories": '
        self._file.write(start + encode_json(categories) + b', "annotations": [')

    def add(self, record: Mapping[str, Any]) -> None:
        """Append an image and its annotations."""
        image, clip = {"id": len(self._images) + 1, **record["image"]}, dict[str, int]()
        if frame := record.get("frame"):
            clip = {"video_id": self._videos.setdefault(frame["clip"], len(self._videos) + 1)}
            image |= {**clip, "frame_index": frame["index"]}
        self._images.append(encode_json(image))
        for annotation in record["annotations"]:
            self._file.write(b",\n" if self._count else b"\n")
            self._count += 1
            entry = {"id": self._count, "image_id": image["id"], **annotation, **clip}
            if clip and "track_id" in annotation:
                key = clip["video_id"], annotation["track_id"]
                track = self._tracks.setdefault(key, {"id": len(self._tracks) + 1})
                track |= {"category_id": annotation["category_id"], **clip}
                entry["track_id"] = track["id"]
            self._file.write(encode_json(entry))

    def content(self) -> bytes:
        """Return the whole file, with lists of videos and tracks if there are clips."""
        self._file.write(b'], "images": [\n' + b",\n".join(self._images) + b"]")
        videos = [encode_json({"id": video_id, "name": clip}) for clip, video_id in self._videos.items()]
        tracks = [encode_json(track) for track in self._tracks.values()]
        for name, entries in ((b"videos", videos), (b"tracks", tracks)) if videos else ():
            self._file.write(b', "' + name + b'": [\n' + b",\n".join(entries) + b"]")
        self._file.write(b"}\n")
        return self._file.getvalue()


def _annotation(instances: Instances, i: int, segmentation: Any) -> dict[str, Any]:
    """Make the annotation of instance `i`, its box tight around the mask, with keys beyond COCO's where it has them."""
    mask, tracks = instances.masks[i], instances.track_ids
    beyond = {**json_scores(instances, i), "track_id": None if tracks is None else int(tracks[i])}
    return {
        "category_id": label_of(int(instances.detections.class_ids[i])),
        "bbox": xyxy_to_xywh(mask.box).tolist(),
        "area": mask.area,
        "iscrowd": 0,
        "segmentation": segmentation,
        **{key: value for key, value in beyond.items() if value is not None},
    }


def _rle(mask: Mask, size: tuple[int, int]) -> dict[str, Any]:
    """Encode the mask as compressed run lengths, column by column, from its crop alone."""
    from pycocotools import mask as coco

    height, width = size
    # Where runs of pixels begin and end within the crop's columns, then in the image.
    padded = np.pad(mask.crop.T, ((0, 0), (1, 1)))
    columns, rows = np.divmod(np.flatnonzero(padded[:, 1:] != padded[:, :-1]), mask.shape[0] + 1)
    changes = (mask.left + columns) * height + mask.top + rows
    # A run that reaches the image's lower edge goes on where one begins at the upper edge of the next column.
    joined = np.flatnonzero(changes[1:-1:2] == changes[2::2])
    changes = np.delete(changes, [2 * joined + 1, 2 * joined + 2])
    counts = np.diff(changes, prepend=0, append=height * width)
    found = coco.frPyObjects({"size": [height, width], "counts": counts[: len(counts) - (counts[-1] == 0)]}, *size)
    return {"size": [height, width], "counts": found["counts"].decode("ascii")}
