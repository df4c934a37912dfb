"""Write and read Pascal VOC trees: lists of images, photos, label maps and object maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, CLASS_NAMES, VOC_PALETTE, VOID, label_of, load_class_names, palette
from utils.errors import SampleError, UserError
from utils.formats.base import FRAME_SUFFIX, Exported, Exporter, ExportSettings, encode_frame, nonempty
from utils.formats.label_colors import LABEL_COLORS, load_label_colors, read_label_map, read_objects
from utils.formats.map_doubts import moved_labels, palette_doubts, void_doubts
from utils.formats.predictions import Predictions, path_without, visible_files
from utils.io.encoding import encode_json, encode_lines
from utils.io.image_files import image_size, is_upright, is_video_name, size_problem
from utils.io.map_files import index_map_size
from utils.io.png_files import encode_map
from utils.io.terminal import counted
from utils.label_maps import MAX_LOST, class_pixels, instances_of
from utils.structures import Instances, Sample

DATASET_META = "dataset_meta.json"
"""Names and colors of the labels, not VOC's own: datumaro, with which CVAT imports, expects VOC's 20 classes else."""


TREE_OF_MASKS = (
    "of masks in YOLO, COCO or labelme files, yolo_sam_auto_anno_generator.py {photos} --format voc makes a tree"
)
"""What messages advise who evaluates other masks than those of a VOC tree; `photos` are the options that name both."""


def split_lists(split: str, task: str = "Segmentation") -> tuple[str, str]:
    """Return the list of a split's images and that of its clips, which are folders of frames."""
    return f"ImageSets/{task}/{split}.txt", f"ImageSets/{task}/{split}_videos.txt"


def map_files(image_id: str) -> tuple[str, str]:
    """Return the label map of an image and the map of its object numbers."""
    return f"SegmentationClass/{image_id}.png", f"SegmentationObject/{image_id}.png"


def voc_photo(image_id: str) -> str:
    """Return the path of an image below the tree, without its suffix."""
    return f"JPEGImages/{image_id}"


MAX_OBJECT_ID = 65535
"""The highest number that an object map can hold."""

MSG_16_BITS = "object maps in 16 bits without a palette, for more than 254 objects"

MSG_HIDDEN = "objects wholly under others, which index maps cannot hold"

MSG_OVERLAPS = "pixels of objects under others, which index maps cannot hold"


class VocExporter(Exporter):
    """Write index maps: a pixel belongs to one object only, the one that wins it everywhere else in a run, too.

    The i-th detection has the object number i, in a clip that of its track, through all frames; those from the 255th on
    have one more: 255 is void.
    """

    class_list: ClassVar[str | None] = CLASS_NAMES
    task: ClassVar = "Segmentation"
    """The folder of `ImageSets` that holds the lists."""

    def __init__(self, settings: ExportSettings) -> None:
        super().__init__(settings)
        self._listed, self._lists = set[str](), set[str]()

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make `SegmentationClass/<image_id>.png` and `SegmentationObject/<image_id>.png`, both of the upright image.

        `JPEGImages/` gets a link to the photo, or a JPEG; see `photo_of`.

        Raises:
            SampleError: no line of a list can hold its id, or it has a track of a number that 16 bits cannot hold, or
                0, which is the background.
        """
        photos, links = photo_of(sample)
        tracks = instances.track_ids
        if tracks is not None and len(odd := tracks[(tracks < 1) | (tracks >= MAX_OBJECT_ID)]):
            raise SampleError(sample.image_id, sample.path, f"no object map holds the track {odd[0]}")
        numbers = skip_void(np.arange(1, len(instances) + 1) if tracks is None else tracks)
        objects = instances.rasterize(numbers)
        (kept, losses), each = nonempty(instances), zip(instances.masks, numbers)
        visible = sum(bool((objects[mask.slices] == number).any()) for mask, number in each)
        overlaps = sum(mask.area for mask in instances.masks) - int(np.count_nonzero(objects))
        losses |= {
            MSG_HIDDEN: len(kept) - visible,
            MSG_OVERLAPS: overlaps,
            MSG_16_BITS: int(numbers.dtype != np.uint8),
        }
        both = (encode_map(values, VOC_PALETTE) for values in (instances.to_semantic(), objects))
        maps = dict(zip(map_files(sample.image_id), both))
        record = {} if sample.frame is None else {"clip": sample.frame.clip}
        return Exported({**maps, **photos}, links, record, shapes=visible, losses=losses)

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether a record names the image's own clip, or nothing."""
        clip = record.get("clip")
        return not record or (len(record) == 1 and isinstance(clip, str) and image_id.startswith(clip))

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Make the list of each split, the list of its clips if it has any, the class names, and their colors."""
        split = PurePath(self.settings.split).name  # one read from elsewhere, such as ../Main/val, is written here
        images = {each: list[str]() for each in self.settings.splits.values() or [split]}
        clips = {each: dict[str, None]() for each in images}
        for image_id, record in records:
            own = self.settings.splits.get(image_id, split)
            images[own].append(image_id)
            clips[own] |= {record["clip"]: None} if record.get("clip") else {}
        labels = ["background", *self.settings.names]
        meta = {
            "labels": labels,
            "label_map": dict(enumerate(labels)),
            "segmentation_colors": palette(len(labels)).tolist(),
        }
        files = {CLASS_NAMES: encode_lines(self.settings.names), DATASET_META: encode_json(meta)}
        for each in images:
            images_file, clips_file = split_lists(each, self.task)
            files |= {images_file: encode_lines(images[each])}
            files |= {clips_file: encode_lines([*clips[each]])} if clips[each] else {}
        self._listed = {image_id for each in images.values() for image_id in each}
        self._lists = {*files}
        return files

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say what was written, and which other lists, such as those of an earlier run, have images of this one."""
        lines, lists = super().summary_lines(shapes, images, folder), PurePath(split_lists("*", self.task)[0])
        for path in sorted(folder.glob(str(lists))):
            if path.relative_to(folder).as_posix() not in self._lists:
                entries = path.read_text("utf-8", "surrogateescape").split("\n")
                if shared := len(self._listed.intersection(entries)):
                    fact = f"{path} lists {counted(shared, 'image')} of this run, too"
                    lines.append(f"{fact}; remove it if it is no split any more")
        return lines


def entry_of_line(line: str) -> str | None:
    """Return what a line of a split list means: a path with forward slashes. None for what no list holds."""
    try:
        text = line.encode().decode("utf-8-sig")
    except UnicodeError:
        return None
    entry = PureWindowsPath(text.partition("\n")[0].strip())
    return None if entry.anchor or ".." in entry.parts else entry.as_posix()


def photo_of(sample: Sample) -> tuple[dict[str, bytes], dict[str, Path]]:
    """Return the file in `JPEGImages/`, or the link there: to the sample's own photo.

    The frame of a video is a JPEG, and so is a photo that EXIF turns: most readers of such trees do not turn it.

    Raises:
        SampleError: no line of a list can hold its id.
    """
    if entry_of_line(sample.image_id) != sample.image_id:
        reason = f"no split list can hold the name {sample.image_id!a}; rename the file for voc"
        raise SampleError(sample.image_id, sample.path, reason)
    stem = voc_photo(sample.image_id)
    if is_video_name(sample.path.name) or not is_upright(sample.path):
        return {f"{stem}{FRAME_SUFFIX}": encode_frame(sample.image)}, {}
    return {}, {f"{stem}{sample.path.suffix}": sample.path}


def skip_void(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.unsignedinteger]:
    """Map (N,) ids from 1 to object numbers, skipping 255 (void): (N,) uint8, or uint16 if one does not fit."""
    numbers = ids + (ids >= VOID)
    return numbers.astype(np.uint8 if numbers.max(initial=0) < VOID else np.uint16)


_PNG = "*.[pP][nN][gG]"


class VocTree(Predictions):
    """A Pascal VOC tree: label maps in `SegmentationClass/` and, perhaps, object maps in `SegmentationObject/`."""

    title = "a VOC tree"
    maps, objects = "SegmentationClass", "SegmentationObject"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return (path / VocTree.maps).is_dir()

    def _open(self) -> Sequence[str]:
        if self.path.name == VocTree.objects:
            raise UserError(f"{self.path}: holds the numbers of objects; name the tree, or its {VocTree.maps}")
        if any(self.path.glob("panoptic*.json")):
            raise UserError(f"{self.path}: holds COCO's panoptic maps, which are not read; -a takes COCO instances")
        self._maps, self._void = self.path / self.maps, list[float]()  # the share of void in each map that was read
        tree = self.path.parent if self.path.name == VocTree.maps else self.path
        self._colors = load_label_colors(tree, self.index.names)
        self._moved = dict[Path, dict[int, int]]()  # the labels that palettes show, where they are others
        self._labels = np.full(256, -1)  # that each value of a map means; -1: none
        self._labels[[BACKGROUND, VOID]] = BACKGROUND, VOID
        if (path := tree / CLASS_NAMES).is_file():
            own = {name: f"{path}, line {i}" for i, name in enumerate(load_class_names(path), 1)}
        else:
            own = dict.fromkeys(self._colors.names if self._colors else self.index.names, str(tree / LABEL_COLORS))
        self._classes = len(own)
        for i, (name, place) in enumerate(own.items()):
            self._labels[label_of(i)] = label_of(self.index.class_id(name, place))
        self._files = _maps_in(self._maps)
        self._objects = _maps_in(self.path / self.objects) if self.objects else {}
        return [*self._files]

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        """Find the objects by the map of objects, where there is such a file, else as connected parts."""
        path, objects = self._files[key], self._objects.get(key)
        try:
            values = read_label_map(path, self._colors, self._labels)
            found = self._labels[values] if self._colors is None or values.ndim == 2 else self._colors.labels(values)
            if found.min(initial=0) < 0:
                rule = f"0 is the background, 1 to {self._classes} are the classes, 255 is no object"
                raise ValueError(f"the value {values[found < 0][0]} is the label of no class; {rule}")
            label_map, path = found.astype(np.uint8), objects or path
            self._void.append(np.count_nonzero(label_map == VOID) / max(1, label_map.size))
            numbers = read_objects(objects, self._colors) if objects else None
            instances = instances_of(label_map, numbers)
            total, lost = class_pixels(label_map, instances)
            if lost > MAX_LOST * total:
                fact = f"{lost} of the {total} pixels of classes in the label map are in no object of their class"
                raise ValueError(f"{fact}; correct it")
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        return instances

    def is_map(self, key: str, path: Path) -> bool:
        """Tell whether a file is the label map of a key itself."""
        return self._files[key].name == path.name and self._files[key].samefile(path)

    def doubts(self) -> list[str]:
        fix = "add 1 to every value, as uint8: 255 becomes 0"
        moved = dict(sorted(self._moved.items()))
        return [*void_doubts(self._maps, self._void, fix), *palette_doubts(moved, mappable=False)]

    def _problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        path = self._files[key]
        try:
            problem = size and size_problem(image_size(path), size)
        except ValueError as error:
            problem = str(error)
        if size and not problem:
            self.read(key, size)
            if self._colors is None and (moved := moved_labels(path)):
                self._moved[path] = moved
        return [f"{path}: {problem}"] if problem else []


class LabelMaps(VocTree):
    """A folder of label maps: PNG files whose values are labels, 0 the background, as mmsegmentation writes them."""

    title = "label maps"
    maps = objects = ""

    @staticmethod
    def recognizes(path: Path) -> bool:
        others = VocTree.recognizes(path) or any((path / name).is_dir() for name in ("images", "Annotations"))
        return path.is_dir() and not others and next(path.rglob(_PNG), None) is not None

    @staticmethod
    def first_problem(folder: Path) -> str | None:
        """Say why the first file is no label map, as its header tells it."""
        first = min(folder.rglob(_PNG))
        try:
            index_map_size(first)
        except ValueError as error:
            return f"{first}: {error}"
        return None


def _maps_in(folder: Path) -> dict[str, Path]:
    return {path_without(each, folder): each for each in sorted(visible_files(folder, _PNG))}
