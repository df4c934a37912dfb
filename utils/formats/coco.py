"""COCO instances: written, with videos and tracks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np

from utils.boxes import xyxy_to_xywh
from utils.classes import label_of
from utils.formats.base import MSG_POLYGON_IOU, Exported, Exporter, ExportSettings, json_scores, nonempty
from utils.formats.polygons import iou, polygons_on_pixel_edges, rasterize_coco
from utils.io.encoding import encode_json
from utils.masks import Mask
from utils.structures import Instances, Sample


def frame_record(sample: Sample) -> dict[str, Any]:
    """Return what `VideoIds` must know of a frame, in JSON's types; empty for an image by itself."""
    frame = sample.frame
    return {} if frame is None else {"frame": {"clip": frame.clip, "index": frame.index}}


def is_clip_of(frame: Any, image_id: str) -> bool:
    """Return whether `frame_record` could have made this of an image."""
    if not isinstance(frame, dict) or type(frame.get("index")) is not int:
        return False
    return isinstance(frame.get("clip"), str) and image_id.startswith(frame["clip"])


class VideoIds:
    """Give clips and tracks their ids in the file, which count from 1 in the order in which they appear.

    The id of a track counts from 1 in its clip until then; here each has one of its own.
    """

    def __init__(self) -> None:
        self._videos: dict[str, int] = {}
        self._tracks: dict[tuple[int, int], dict[str, int]] = {}

    def for_image(self, record: Mapping[str, Any]) -> dict[str, int]:
        """Return the keys of an image of a clip beyond COCO's; none where it is in no clip."""
        if "frame" not in record:
            return {}
        video_id = self._videos.setdefault(record["frame"]["clip"], len(self._videos) + 1)
        return {"video_id": video_id, "frame_index": record["frame"]["index"]}

    def for_annotation(self, image: Mapping[str, int], annotation: Mapping[str, Any]) -> dict[str, int]:
        """Return the ids of an annotation of a clip; the class of a track is that of its last annotation.

        Args:
            image: what `for_image` returned of its image.
            annotation: in COCO's format, with the `track_id` that it has in its clip, if it has one.
        """
        if not image:
            return {}
        video_id = {"video_id": image["video_id"]}
        if "track_id" not in annotation:
            return video_id
        known = self._tracks.setdefault((image["video_id"], annotation["track_id"]), {"id": len(self._tracks) + 1})
        known |= {"category_id": annotation["category_id"], **video_id}
        return {"track_id": known["id"], **video_id}

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return the lists of videos and tracks; none without clips."""
        if not self._videos:
            return {}
        videos = [{"id": video_id, "name": clip} for clip, video_id in self._videos.items()]
        return {"videos": videos, "tracks": list(self._tracks.values())}


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

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

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
            record={"image": self.image_entry(sample), "annotations": annotations, **frame_record(sample)},
            shapes=len(kept),
            losses=losses,
            measures={MSG_POLYGON_IOU: ious} if ious else {},
        )

    def image_entry(self, sample: Sample) -> dict[str, Any]:
        """Make the entry of an image, without its id."""
        height, width = sample.size
        # The name below JPEGImages or the source folder, which is what tools take as the folder of images.
        photo = self.settings.photo(sample)
        has_suffix = PurePosixPath(sample.image_id).name == photo.name  # of photos that differ in nothing else
        name = sample.image_id if has_suffix else sample.image_id + photo.suffix
        return {"file_name": name, "height": height, "width": width}

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
        return rows and ("frame" not in record or is_clip_of(frame, image_id))

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
    """A file in the making; of the records only the images' entries are kept in memory beside the file itself."""

    def __init__(self, categories: Sequence[Mapping[str, Any]]) -> None:
        self._file, self._images, self._videos, self._count = io.BytesIO(), list[bytes](), VideoIds(), 0
        start = b'{"info": {}, "licenses": [], "categories": '
        self._file.write(start + encode_json(categories) + b', "annotations": [')

    def add(self, record: Mapping[str, Any]) -> None:
        """Append an image and its annotations."""
        image_id, clip = len(self._images) + 1, self._videos.for_image(record)
        self._images.append(encode_json({"id": image_id, **record["image"], **clip}))
        for annotation in record["annotations"]:
            self._file.write(b",\n" if self._count else b"\n")
            self._count += 1
            ids = {"id": self._count, "image_id": image_id}
            beyond = self._videos.for_annotation(clip, annotation)
            self._file.write(encode_json({**ids, **annotation, **beyond}))

    def content(self) -> bytes:
        """Return the whole file."""
        self._file.write(b'], "images": [\n' + b",\n".join(self._images) + b"]")
        for name, entries in self._videos.lists().items():
            self._file.write(b', "' + name.encode() + b'": [\n' + b",\n".join(map(encode_json, entries)) + b"]")
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
