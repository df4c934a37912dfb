"""The lists of a split: which images and which folders of frames its lines name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np

from datasets.folder import ImageTree, duplicate_ids, frame_id, frame_ranges, id_of, natural_key, sample_errors
from datasets.images import read_image
from utils.errors import UserError
from utils.formats.voc import map_files, split_lists
from utils.io.image_files import is_image_name, read_index_map, read_object_map
from utils.label_maps import instances_of
from utils.structures import Instances, Sample


def split_images(root: Path, split: str, tree: ImageTree, problems: list[str]) -> list[str]:
    """The ids of a split, each once, in order; what is wrong with single lines goes to the problems.

    Raises:
        UserError: a list is missing, empty or no text.
    """
    ids, folders = _listed(root, split, tree, problems)
    for place, folder in folders.items():
        frames = tree.ids_in(folder)
        ids += frames
        if not frames:
            problems.append(f"{place}: {tree.root / folder} holds no frames")
    if not ids and not problems:
        raise UserError(f"{_lists(root, split)[0]}: the split list is empty")
    return list(dict.fromkeys(ids))


def split_clips(root: Path, split: str, tree: ImageTree, problems: list[str]) -> tuple[dict[str, list[str]], int]:
    """The ids of the frames of each clip, in natural order, and how many listed images lie in no clip.

    A frame that is listed, but missing, counts; so does one of a folder that has none.

    Raises:
        UserError: a list is missing or no text, or none names a clip.
    """
    ids, folders = _listed(root, split, tree, problems)
    if not folders and not problems:
        raise UserError(f"{_lists(root, split)[1]}: names no clip, and --video takes nothing else")
    frames = {folder: dict.fromkeys(tree.ids_in(folder)) for folder in folders.values()}
    outside = {image_id for image_id in ids if _folder_of(image_id) not in frames}
    for image_id in dict.fromkeys(ids):
        if image_id not in outside:
            frames[_folder_of(image_id)][image_id] = None
    clips = {clip: sorted(found, key=natural_key) or [frame_id(clip, 0)] for clip, found in frames.items()}
    return clips, len(outside)


def _folder_of(image_id: str) -> str:
    return image_id.rpartition("/")[0]


def _lists(root: Path, split: str) -> tuple[Path, Path]:
    """The list of images and that of folders of frames."""
    images, clips = split_lists(split)
    return root / images, root / clips


def _listed(root: Path, split: str, tree: ImageTree, problems: list[str]) -> tuple[list[str], Mapping[str, str]]:
    """The ids that the one list means, and place (file and line) -> folder of the other, if there is one."""
    images, videos = _lists(root, split)
    if not images.is_file():
        splits = sorted(path.stem for path in images.parent.glob("*.txt") if not path.stem.endswith("_videos"))
        raise UserError(f"{images}: no such split list; splits there: {', '.join(splits) or 'none'}")
    ids = [_without_suffix(entry, tree) for entry in _entries(images, problems).values()]
    return ids, _entries(videos, problems) if videos.is_file() else {}


def _entries(path: Path, problems: list[str]) -> dict[str, str]:
    """Place (file and line) -> entry, with forward slashes, of the lines of a split list that are not blank.

    Lines that lead out of JPEGImages are problems, and no entries.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    entries = {f"{path}: line {number}": PureWindowsPath(line.strip()) for number, line in enumerate(lines, 1)}
    entries = {place: entry for place, entry in entries.items() if entry.parts}
    outside = {place: entry for place, entry in entries.items() if entry.anchor or ".." in entry.parts}
    problems += (f"{place}: {entry.as_posix()} leads out of JPEGImages" for place, entry in outside.items())
    return {place: entry.as_posix() for place, entry in entries.items() if place not in outside}


def _without_suffix(entry: str, tree: ImageTree) -> str:
    """The id that a line means: `a` for `a.jpg`, unless `a.jpg` is itself an id, as that of a file `a.jpg.png`."""
    return id_of(PureWindowsPath(entry)) if is_image_name(entry) and not tree.find(entry) else entry


class VocDataset:
    """One split of a Pascal-VOC tree; `datasets.preflight` tells whether it can be used.

    Attributes:
        root: the tree's folder.
        split: name of the split.
        ids: paths below JPEGImages without suffix, each once: those of `<split>.txt`, then the frames of the folders
            in `<split>_videos.txt` in natural order. By clips: the frames of these folders, wherever they are listed.
        paths: the image files, in the order of `ids`; `<id>.*` where there is none.
        clips: by clips, the positions of the frames of each folder, by its path below JPEGImages. A folder without
            frames has one, whose path is the folder itself.
        left_out: by clips, how many images of `<split>.txt` lie in none.
        with_targets: whether samples have their label maps; without true instances, only where there are any.
        with_truth: whether they have their true instances.
        problems: what is wrong with the lists and the names of the files; `datasets.preflight` refuses it.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        label_map: Mapping[int, int] | None = None,
        with_targets: bool = False,
        with_truth: bool = False,
        by_clips: bool = False,
    ) -> None:
        """Read the split lists and find the images.

        Args:
            label_map: pixel value -> label, for masks that hold other values than labels; the rest stay as they are.
            with_targets: load the label maps, too.
            with_truth: load the true instances, too.
            by_clips: take clips, and nothing else.

        Raises:
            UserError: a list is missing or empty, there is no clip, or none of the images is there.
        """
        self.root, self.split = root, split
        self.with_targets, self.with_truth = with_targets, with_truth
        self.problems: list[str] = []
        self._labels = np.arange(256, dtype=np.uint8)
        for value, label in (label_map or {}).items():
            self._labels[value] = label
        tree = ImageTree(root / "JPEGImages")
        clips, self.left_out = split_clips(root, split, tree, self.problems) if by_clips else ({}, 0)
        self.clips = frame_ranges({clip: len(ids) for clip, ids in clips.items()})
        chosen = chain.from_iterable(clips.values()) if by_clips else split_images(root, split, tree, self.problems)
        found = {image_id: tree.find(image_id) for image_id in chosen}
        if not any(found.values()) and not self.problems:
            raise UserError(f"{tree.root}: none of the {len(found)} images of the split {split} is here")
        self.problems += duplicate_ids(found)
        self.ids = list(found)
        self.paths = [next(iter(paths), self._lost(image_id, tree)) for image_id, paths in found.items()]

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            SampleError: the image is missing or cannot be read, or its mask is wanted and cannot be used.
        """
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            image = read_image(path)
        if not (self.with_truth or (self.with_targets and self.mask_path(index).is_file())):
            return Sample(image_id, path, image)
        with sample_errors(image_id, self.mask_path(index)):
            target = self.target(index)
            if target.shape != image.shape[:2]:
                raise ValueError(misfit(target.shape, image.shape))
        truth = self._truth(index, target) if self.with_truth else None
        return Sample(
            image_id,
            path,
            image,
            target if self.with_targets else None,
            truth,
            has_instance_ids=self.objects_path(index).is_file(),
        )

    def _lost(self, image_id: str, tree: ImageTree) -> Path:
        """What stands for the file of an image that has none."""
        folder, _, _ = image_id.rpartition("/")
        empty = bool(self.clips) and (tree.root / folder).is_dir() and not tree.ids_in(folder)
        return tree.root / (folder if empty else f"{image_id}.*")

    def mask_path(self, index: int) -> Path:
        """The file of the label map."""
        return self.root / map_files(self.ids[index])[0]

    def objects_path(self, index: int) -> Path:
        """The file that numbers the objects, which an image need not have."""
        return self.root / map_files(self.ids[index])[1]

    def target(self, index: int) -> np.ndarray:
        """The label map, (H, W) uint8 (0 background, class id + 1, 255 void); its values are not checked.

        Raises:
            ValueError: why it cannot be read.
        """
        return cv2.LUT(read_index_map(self.mask_path(index)), self._labels)

    def _truth(self, index: int, labels: np.ndarray) -> Instances:
        """The true objects: those of SegmentationObject where the image has one, else connected parts of a class."""
        path = self.objects_path(index)
        with sample_errors(self.ids[index], path):
            return instances_of(labels, read_object_map(path) if path.is_file() else None)


def misfit(mask: Sequence[int], image: Sequence[int]) -> str:
    """What to say of a mask that has another shape (height, width, ...) than its image."""
    return f"the mask has {mask[1]}x{mask[0]} pixels, its upright image {image[1]}x{image[0]}"
