"""Splits of a Pascal-VOC tree: their lists, and a dataset of their images with ground truth."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np
import numpy.typing as npt

from datasets.folder import (
    Dataset,
    ImageTree,
    duplicate_ids,
    frame_id,
    frame_ranges,
    image_id_of,
    natural_key,
    sample_errors,
)
from utils.classes import VOID
from utils.errors import UserError
from utils.files import read_user_text
from utils.formats.label_colors import load_label_colors, read_label_map, read_objects
from utils.formats.voc import TREE_OF_MASKS, map_files, split_lists
from utils.io.image_files import is_image_name
from utils.io.json_files import path_problem
from utils.io.photos import read_image, size_mismatch_message
from utils.io.terminal import counted
from utils.label_maps import instances_of
from utils.structures import FilePaths, Sample

_PLAIN_ENTRY = re.compile(r"(?:[\w-]{1,40}/){0,9}[\w-]{1,40}(?:\.[A-Za-z]{1,5})?", re.ASCII)
"""Matches entries of split lists that are certainly what they seem: short names without a special character."""


class SplitLists:
    """The lists of a split: `<split>.txt` with images, and perhaps `<split>_videos.txt` with folders of frames.

    Attributes:
        problems: what is wrong with single lines.
        repeated: how many lines of `<split>.txt` name an image again.
    """

    def __init__(self, root: Path, split: str, tree: ImageTree) -> None:
        """Read the lists; UserError if one is missing or is not text."""
        self._tree, self.problems = tree, list[str]()
        self._image_list, self._clip_list = (root / path for path in split_lists(split))
        if not self._image_list.is_file():
            lists = self._image_list.parent.glob("*.txt")
            splits = ", ".join(sorted(path.stem for path in lists if not path.stem.endswith("_videos")))
            folder = root.parent if root.is_file() else root
            typed = shlex.quote(str(folder))
            is_yolo = any(folder.glob("*.yaml")) or (folder / "labels").is_dir()
            photos = f"a YOLO dataset goes by -s {typed} -p {typed}" if is_yolo else "-s names a folder of photos"
            photos += f"; {TREE_OF_MASKS.format(photos=f'-s {typed} -a {typed}' if is_yolo else '-s PHOTOS -a MASKS')}"
            if not root.is_dir():
                kind = f"a file; {photos}" if root.is_file() else "no such folder"
                raise UserError(f"{root}: {kind}; dataset.data_dir names the folder of a Pascal-VOC tree")
            advice = f"splits there: {splits}" if splits else f"it is no Pascal-VOC tree; {photos}"
            raise UserError(f"{self._image_list}: no such split list; {advice}")
        self._ids = [self._image_id(entry) for entry in self._entries(self._image_list).values()]
        self.repeated = len(self._ids) - len({*self._ids})
        self._folders = self._entries(self._clip_list) if self._clip_list.is_file() else {}  # by number of the line

    def images(self) -> list[str]:
        """Return the ids of all images and frames, each once, in order; UserError if the lists are empty."""
        ids = [*self._ids]
        for number, folder in self._folders.items():
            frames = self._tree.ids_in(folder)
            ids += frames
            if not frames:
                self.problems.append(f"{self._clip_list}: line {number}: {self._tree.root / folder} holds no frames")
        if not ids and not self.problems:
            raise UserError(f"{self._image_list}: the split list is empty")
        return list(dict.fromkeys(ids))

    def clips(self) -> tuple[dict[str, list[str]], int]:
        """Return the ids of the frames of each clip, in natural order, and how many listed images are in no clip.

        A missing frame that is listed counts, as does a placeholder for a folder without frames. UserError if no list
        names a clip.
        """
        if not self._folders and not self.problems:
            raise UserError(f"{self._clip_list}: names no clip, and --video takes nothing else")
        frames = {folder: {*self._tree.ids_in(folder)} for folder in self._folders.values()}
        outside: set[str] = set()
        for image_id in self._ids:
            frames.get(image_id.rpartition("/")[0], outside).add(image_id)
        clips = {clip: sorted(ids, key=natural_key) or [frame_id(clip, 0)] for clip, ids in frames.items()}
        return clips, len(outside)

    def _entries(self, path: Path) -> dict[int, str]:
        """Read the non-blank lines of a list: number of the line -> entry with forward slashes.

        Lines that lead out of JPEGImages are problems instead.
        """
        lines = read_user_text(path).split("\n")
        entries = {}
        for number, line in enumerate(lines, 1):
            if _PLAIN_ENTRY.fullmatch(line):  # nearly all of them, and there may be millions
                entries[number] = line
                continue
            place, entry = f"{path}: line {number}", PureWindowsPath(line.strip())
            if entry.parts and (problem := path_problem(line.strip())):
                self.problems.append(f"{place}: {problem}")
            elif entry.anchor or ".." in entry.parts:
                self.problems.append(f"{place}: {entry.as_posix()} leads out of JPEGImages")
            elif entry.parts:
                entries[number] = entry.as_posix()
        return entries

    def _image_id(self, entry: str) -> str:
        """Convert an entry to an id: `a` for `a.jpg`, unless `a.jpg` is itself the id of a file like `a.jpg.png`."""
        if not is_image_name(entry) or self._tree.find(entry):
            return entry
        return image_id_of(PureWindowsPath(entry))


class VocDataset(Dataset):
    """One split of a Pascal-VOC tree; `datasets.preflight` checks whether it can be used.

    Attributes:
        root: the tree's folder.
        split: name of the split.
        ids: paths below JPEGImages without suffix, each once: those of `<split>.txt`, then the frames of the folders
            in `<split>_videos.txt` in natural order. By clips: the frames of these folders, wherever they are listed.
        paths: image files, in the order of `ids`; `<id>.*` for a missing one.
        clips: by clips, the positions of the frames of each folder, by its path below JPEGImages. A folder without
            frames has one position, whose path is the folder itself.
        left_out: by clips, how many images of `<split>.txt` are in no clip.
        repeated: how many lines of `<split>.txt` name an image again, which counts once.
        label_map: pixel value -> label, of masks that hold other values than labels.
        colors: what colors of masks mean, where the tree says it in a `labelmap.txt`.
        with_gt_masks: whether samples have label maps; without ground-truth instances, only where the files exist.
        with_gt_instances: whether samples have ground-truth instances.
        problems: what is wrong with the lists and the file names; `datasets.preflight` refuses it.
        missing: the positions of the images that are not there.
        num_classes: the number of classes without the background, which masks may hold; None until it is known.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        label_map: Mapping[int, int] | None = None,
        classes: Sequence[str] | None = None,
        with_gt_masks: bool = False,
        with_gt_instances: bool = False,
        by_clips: bool = False,
    ) -> None:
        """Read the split lists and find the images.

        Args:
            label_map: pixel value -> label, for masks that hold other values than labels; others stay as they are.
            classes: class names of the run, which masks that hold colors need.
            with_gt_masks: load label maps.
            with_gt_instances: load ground-truth instances.
            by_clips: take clips only.

        Raises:
            UserError: a list is missing or empty, there is no clip, or all images are missing.
        """
        self.root, self.split = root, split
        self.with_gt_masks, self.with_gt_instances = with_gt_masks, with_gt_instances
        self.num_classes: int | None = None
        self.label_map = label_map or {}
        self._classes = classes
        self.colors = load_label_colors(root, classes) if with_gt_masks or with_gt_instances else None
        self._labels = np.arange(256, dtype=np.uint8)
        for value, label in self.label_map.items():
            self._labels[value] = label
        tree = ImageTree(root / "JPEGImages")
        lists = SplitLists(root, split, tree)
        self.repeated = lists.repeated
        clips, self.left_out = lists.clips() if by_clips else ({}, 0)
        self.clips = frame_ranges({clip: len(ids) for clip, ids in clips.items()})
        ids = chain.from_iterable(clips.values()) if by_clips else lists.images()
        found = {image_id: tree.find(image_id) for image_id in ids}
        if not any(found.values()) and not lists.problems:
            first = f"the first one would be {tree.root / next(iter(found))}.*"
            images = counted(len(found), "image")
            raise UserError(f"{tree.root}: none of the {images} of the split {split} is here; {first}")
        self.problems = lists.problems + duplicate_ids(found)
        self.ids = list(found)
        self.missing = [position for position, paths in enumerate(found.values()) if not paths]
        self.paths = FilePaths(
            [paths[0] if paths else self._missing_path(image_id, tree) for image_id, paths in found.items()]
        )

    def load(self, index: int) -> Sample:
        """See Dataset."""
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            image = read_image(path)
        mask_path, objects_path = self.mask_path(index), self.objects_path(index)
        if not (self.with_gt_instances or (self.with_gt_masks and mask_path.is_file())):
            return Sample(image_id, path, image)
        with sample_errors(image_id, mask_path):
            target = self.target(index)
            if target.shape != image.shape[:2]:
                raise ValueError(mask_size_message(target.shape, image.shape))
            if self.num_classes is not None and (problem := label_problem(target, self.num_classes)):
                raise ValueError(problem)
        has_ids, instances = objects_path.is_file(), None
        if self.with_gt_instances:
            with sample_errors(image_id, objects_path):
                objects = read_objects(objects_path, self.colors) if has_ids else None
                if objects is not None and objects.shape != target.shape:
                    raise ValueError(objects_size_message(objects.shape, target.shape))
                instances = instances_of(target, objects, specks=False)
        gt_mask = target if self.with_gt_masks else None
        return Sample(image_id, path, image, gt_mask, instances, has_instance_ids=has_ids)

    def _missing_path(self, image_id: str, tree: ImageTree) -> str:
        """Return the placeholder path of a missing image, which messages show."""
        folder, _, _ = image_id.rpartition("/")
        empty = bool(self.clips) and (tree.root / folder).is_dir() and not tree.ids_in(folder)
        return f"{tree.root}/{folder}" if empty else f"{tree.root}/{image_id}.*"

    def mask_path(self, index: int) -> Path:
        """Return the path of the label map."""
        return self.root / map_files(self.ids[index])[0]

    def objects_path(self, index: int) -> Path:
        """Return the path of the map of object numbers, which is optional."""
        return self.root / map_files(self.ids[index])[1]

    def target(self, index: int) -> npt.NDArray[np.uint8]:
        """Read the label map, (H, W): 0 background, class id + 1, 255 void; ValueError if it cannot be read.

        Its values are not checked.
        """
        values = read_label_map(self.mask_path(index), self.colors, np.arange(256))
        if self.colors is not None and values.ndim == 3:
            if self._classes is None:
                raise ValueError(f"it holds colors: set dataset.classes, to {self.colors.path} for all classes there")
            return self.colors.labels(values)
        return np.asarray(cv2.LUT(values, self._labels), np.uint8)


def mask_size_message(mask: tuple[int, ...], image: tuple[int, ...]) -> str:
    """Describe a mask with another shape (height, width, ...) than its upright image."""
    return size_mismatch_message("the mask", mask, "its upright image", image)


def objects_size_message(objects: tuple[int, ...], mask: tuple[int, ...]) -> str:
    """Describe an object map with another shape (height, width) than the label map."""
    return size_mismatch_message("the object map", objects, "the label map", mask)


def label_problem(target: npt.NDArray[np.uint8], num_classes: int) -> str | None:
    """Say where a (H, W) label map holds a value that is no label: its lowest one; None if it holds none."""
    outside = np.arange(256) > num_classes
    outside[VOID] = False
    wrong = cv2.LUT(target, outside.astype(np.uint8))
    if not wrong.any():
        return None
    value = target[wrong > 0].min()
    y, x = np.argwhere(target == value)[0]
    return f"value {value} (x {x}, y {y}) is outside 0 to {num_classes}, and not {VOID} (void)"
