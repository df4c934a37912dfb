"""A Pascal-VOC tree: split lists, images, index masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np

from datasets.folder import ImageTree, id_of, sample_errors, several_files
from datasets.images import read_image
from utils.errors import UserError
from utils.image_files import is_image_name, read_index_map, read_object_map
from utils.objects import instances_of
from utils.structures import Instances, Sample


class VocDataset:
    """One split of a Pascal-VOC tree; `datasets.preflight` tells whether it can be used.

    Attributes:
        root: the tree's folder.
        split: name of the split.
        ids: paths below JPEGImages without suffix, each once: those of `<split>.txt`, then the frames of the folders
            in `<split>_videos.txt` in natural order.
        paths: the image files, in the order of `ids`; `<id>.*` where there is none.
        with_targets: whether samples have their label maps.
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
    ) -> None:
        """Read the split lists and find the images.

        Args:
            label_map: pixel value -> label, for masks that hold other values than labels; the rest stay as they are.
            with_targets: load the label maps, too.
            with_truth: load the true instances, too.

        Raises:
            UserError: a list is missing or empty, or none of the images is there.
        """
        self.root, self.split = root, split
        self.with_targets, self.with_truth = with_targets, with_truth
        self.problems: list[str] = []
        self._labels = np.arange(256, dtype=np.uint8)
        for value, label in (label_map or {}).items():
            self._labels[value] = label
        tree = ImageTree(root / "JPEGImages")
        found = {image_id: tree.find(image_id) for image_id in _ids(root, split, tree, self.problems)}
        if not any(found.values()) and not self.problems:
            raise UserError(f"{tree.root}: none of the {len(found)} images of the split {split} is here")
        self.problems += several_files(found)
        self.ids = list(found)
        self.paths = [next(iter(paths), tree.root / f"{image_id}.*") for image_id, paths in found.items()]

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
        if not (self.with_targets or self.with_truth):
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
            told_apart=self.objects_path(index).is_file(),
        )

    def mask_path(self, index: int) -> Path:
        """The file of the label map."""
        return self.root / "SegmentationClass" / f"{self.ids[index]}.png"

    def objects_path(self, index: int) -> Path:
        """The file that numbers the objects, which an image need not have."""
        return self.root / "SegmentationObject" / f"{self.ids[index]}.png"

    def target(self, index: int) -> np.ndarray:
        """The label map, (H, W) uint8 (0 background, class id + 1, 255 void); its values are not checked.

        Raises:
            ValueError: why it cannot be read.
        """
        return cv2.LUT(read_index_map(self.mask_path(index)), self._labels)

    def instances(self, index: int) -> Instances:
        """The true objects: those of SegmentationObject where the image has one, else connected parts of a class.

        Raises:
            SampleError: a mask is missing or cannot be used.
        """
        with sample_errors(self.ids[index], self.mask_path(index)):
            labels = self.target(index)
        return self._truth(index, labels)

    def _truth(self, index: int, labels: np.ndarray) -> Instances:
        path = self.objects_path(index)
        with sample_errors(self.ids[index], path):
            return instances_of(labels, read_object_map(path) if path.is_file() else None)


def misfit(mask: Sequence[int], image: Sequence[int]) -> str:
    """What to say of a mask that has another shape (height, width, ...) than its image."""
    return f"the mask has {mask[1]}x{mask[0]} pixels, its upright image {image[1]}x{image[0]}"


def _ids(root: Path, split: str, tree: ImageTree, problems: list[str]) -> list[str]:
    """The ids of a split, each once, in order; what is wrong with single lines goes to the problems."""
    lists = root / "ImageSets" / "Segmentation"
    images, videos = lists / f"{split}.txt", lists / f"{split}_videos.txt"
    if not images.is_file():
        splits = sorted(path.stem for path in lists.glob("*.txt") if not path.stem.endswith("_videos"))
        raise UserError(f"{images}: no such split list; splits there: {', '.join(splits) or 'none'}")
    ids = [_without_suffix(entry, tree) for entry in _entries(images, problems).values()]
    for place, folder in _entries(videos, problems).items() if videos.is_file() else ():
        frames = tree.ids_in(folder)
        ids += frames
        if not frames:
            problems.append(f"{place}: {tree.root / folder} holds no frames")
    if not ids and not problems:
        raise UserError(f"{images}: the split list is empty")
    return list(dict.fromkeys(ids))


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
