"""Read annotations in place of the models: labelme files, or those of any format that `predictions.py` reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from utils.classes import ClassIndex
from utils.distributed import Session
from utils.engine import Result, RunImages
from utils.errors import SampleError, UserError
from utils.formats.labelme_reader import (
    Shape,
    check_drawable,
    check_size,
    labelme_instances,
    read_labelme_json,
    shapes_of,
    size_of,
)
from utils.formats.predictions import Predictions
from utils.formats.registry import predictions_of
from utils.io.terminal import counted, warn
from utils.io.writers import safe_path
from utils.prompts.matching import number_of
from utils.prompts.readers import VOC_BOXES
from utils.prompts.table import PromptSource
from utils.structures import Instances, Sample

CHECKED_FIRST = 1000
"""Images whose masks or annotations are read before a run begins; what is wrong with later ones is named at its end."""


class AnnotationFolder:
    """Read the annotations `<folder>/<image_id>.json`, whose labels are classes of the run.

    Args:
        folder: where they are.
        index: class ids of its labels.

    Attributes:
        has_category_ids: whether its classes are ids alone, of which somebody may say where they begin.
    """

    def __init__(self, folder: Path, index: ClassIndex) -> None:
        self.folder, self._index = folder, index
        self.has_category_ids = False

    def read(self, image_id: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        """Read the objects of an image, rasterized as labelme does.

        Args:
            size: (height, width) of the image in pixels.
            tracked: it is a frame of a clip, and shapes of one group are one track through the clip.

        Raises:
            SampleError: there is no annotation, or it cannot be used.
        """
        path = safe_path(self.folder, image_id, ".json")
        if not os.path.isfile(path):  # unlike Path.is_file, it takes names that are too long for the disk
            raise SampleError(image_id, path, "the image has no annotation")
        try:
            instances = labelme_instances(path, self._index, tracked, size)
            check_size(instances.size, size, path)
        except UserError as error:
            raise SampleError(image_id, path, str(error).removeprefix(f"{path}: ")) from error
        return instances

    def coverage(self, image_ids: Sequence[str]) -> str:
        """Say how much of it is for the images of a run; nothing of labelme files, each of which is looked for."""
        return ""

    def problems(self, images: RunImages, session: Session) -> list[str]:
        """Check the first annotations of a run before work begins: labels, kinds of shapes, points, sizes.

        An image without an annotation is no problem, but a folder without any is one.

        Args:
            images: those of the run.
            session: the processes of the run, each of which looks at a part.

        Returns:
            what is wrong, a line each.
        """
        paths = ((i, safe_path(self.folder, image_id, ".json")) for i, image_id in enumerate(images.ids))
        there = list(islice((entry for entry in paths if os.path.isfile(entry[1])), CHECKED_FIRST))
        if images.ids and not there:
            first = safe_path(self.folder, images.ids[0], ".json")
            lacking = f"no image of the run has an annotation here; the first one's would be {first}"
            boxes = f"; -p takes {VOC_BOXES.title} as prompts, and SAM2 makes the masks"
            return [lacking + (boxes if VOC_BOXES.recognizes(PromptSource(self.folder)) else "")]
        mine = session.own_share(there)
        positions, files = [i for i, _ in mine], [path for _, path in mine]
        with ThreadPoolExecutor() as pool:
            results = pool.map(self._problems_of, files, images.sizes(positions))
        found = session.gather(list(zip(positions, results)))
        return [problem for _, problems in sorted(found) for problem in problems]

    def _problems_of(self, path: Path, size: tuple[int, int] | None) -> list[str]:
        """Check a file; the size is None where the image itself cannot be read."""
        try:
            content = read_labelme_json(path)
            shapes, found = shapes_of(content, path), size_of(content, path, size)
            check_size(found, size or found, path)
        except UserError as error:
            return [str(error)]
        checks = (self._problem_of(shape, f"{path}: shapes[{i}]") for i, shape in enumerate(shapes))
        return [problem for problem in checks if problem]

    def _problem_of(self, shape: Shape, place: str) -> str | None:
        try:
            check_drawable(shape, place)
            self._index.class_id(shape.label, f"{place}.label")
        except UserError as error:
            return str(error)
        return None


class PredictionFolder(AnnotationFolder):
    """Read annotations of another format than labelme's; images are found by ids, paths or names of files.

    Args:
        path: the file or folder.
        index: class ids of its names, and what ids in it mean.
        kind: how to read it.
        offset: where category ids begin, if somebody says it.
    """

    def __init__(self, path: Path, index: ClassIndex, kind: type[Predictions], offset: str | None) -> None:
        super().__init__(path, index)
        self._predictions, self.has_category_ids = kind(path, index, offset), kind.has_category_ids
        self._keys = {*self._predictions.keys}
        self._alike: dict[str, str | None] = {}  # None: several keys have the alias
        for key in self._predictions.keys:
            name = key.rpartition("/")[2]
            for alias in {name, number_of(name)}:
                self._alike[alias] = None if alias in self._alike else key

    def key(self, image_id: str) -> str | None:
        """Return what names an image in the files; None: nothing does. UserError if several may."""
        for exact in (image_id, image_id.replace("/", "_")):
            if exact in self._keys:
                return exact
        name = image_id.rpartition("/")[2]
        for alias in (name, number_of(name)):
            if alias in self._alike:
                key = self._alike[alias]
                if key is None:
                    raise UserError(f"{self.folder}: several of its images are called {alias}, and none {image_id}")
                # A key with folders is for another image, unless one path is the end of the other: then the folder of
                # the run or that of the annotations lies higher.
                longer, shorter = sorted((f"/{key}", f"/{image_id}"), key=len, reverse=True)
                return key if "/" not in key or longer.endswith(shorter) else None
        return None

    def read(self, image_id: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        """Read the objects of an image; those of labels and results have no tracks."""
        try:
            key = self.key(image_id)
            if key is None and not self._predictions.complete:
                raise SampleError(image_id, self.folder, f'the image "{image_id}" has no annotation')
            found = Instances.from_masks(size, [], []) if key is None else self._predictions.read(key, size)
            check_size(found.size, size, self.folder)
        except UserError as error:
            if isinstance(error, SampleError):
                raise
            raise SampleError(image_id, self.folder, str(error).removeprefix(f"{self.folder}: ")) from error
        return found

    def coverage(self, image_ids: Sequence[str]) -> str:
        """Say how much of it is for the images of a run."""
        keys = self._predictions.keys
        used = len({key for image_id in image_ids if (key := self.key(image_id)) is not None})
        whole = counted(len(keys), "image")
        in_run = f"{used} of {whole} are in the run, which has {counted(len(image_ids), 'image')}"
        return f": {self._predictions.title}, {in_run}"

    def problems(self, images: RunImages, session: Session) -> list[str]:
        """Check the first annotations of a run before work begins; no image may be meant by two names."""
        try:
            keys = [self.key(image_id) for image_id in images.ids]
        except UserError as error:
            return [str(error)]
        used = Counter(key for key in keys if key is not None)
        if images.ids and not used and (self._predictions.keys or not self._predictions.complete):
            first = f'the first image here is "{min(self._predictions.keys, default="")}"'
            lacking = f"no image of the run is among {self._predictions.title}{self._predictions.advice}"
            return [f"{first}, that of the run {images.ids[0]}: {lacking}"]
        if twice := [key for key, count in used.items() if count > 1]:
            meant = [image_id for image_id, key in zip(images.ids, keys) if key == twice[0]]
            return [f'"{twice[0]}" may be for {meant[0]} or {meant[1]}: names without folders collide']
        there = session.own_share([(i, key) for i, key in enumerate(keys) if key is not None][:CHECKED_FIRST])
        sizes = images.sizes([i for i, _ in there])
        checked = [(i, key, size) for (i, key), size in zip(there, sizes) if size is not None]
        found = [(i, problem) for i, key, size in checked if (problem := self._predictions.problem(key, size))]
        warn(session.gather(self._predictions.doubts())[:1])
        return [problem for _, problem in sorted(session.gather(found))]


def open_annotations(path: Path, index: ClassIndex, offset: str | None = None) -> AnnotationFolder:
    """Open annotations of any format, which is known by its content.

    Args:
        path: a folder of labelme files, a file or folder of COCO instances, a file of COCO results or a folder with one
            and its instances file, a folder of YOLO labels, a VOC tree, or a folder of label maps.
        index: class ids of names, and what ids in files mean.
        offset: where the category ids of COCO results begin, if somebody says it: `0`, `1` or `coco91`.

    Raises:
        UserError: it is of no known format, may be of several, or cannot be used.
    """
    kind = predictions_of(path)
    return AnnotationFolder(path, index) if kind is None else PredictionFolder(path, index, kind, offset)


def annotation_problems(
    path: Path, index: ClassIndex, offset: str | None, images: RunImages, session: Session
) -> list[str]:
    """Check annotations before work begins: what cannot be opened, and what is wrong with the first images."""
    try:
        folder = open_annotations(path, index, offset)
    except UserError as error:
        return [str(error)]
    if offset is not None and not folder.has_category_ids:
        warn([f"--category-offset {offset} changes nothing in {path}, which says itself what its classes are"])
    return folder.problems(images, session)


class AnnotationCascade:
    """Return the instances that a folder holds, all as they are: neither confidence nor cleaning applies."""

    def __init__(self, folder: AnnotationFolder) -> None:
        self._folder, self._readers = folder, ThreadPoolExecutor(thread_name_prefix="annotations")
        self._untracked: list[str] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Yield the annotated instances of each image of a batch, in order; an image without one has failed."""
        return self._readers.map(self._result, samples)  # which begins at once, while sinks take the batch before

    def summary_lines(self, session: Session) -> list[str]:
        """Say where everything came from, and how many frames of clips have no tracks."""
        lines = [f"annotations: {self._folder.folder}, no model was loaded"]
        if untracked := session.gather(self._untracked):
            which = "frames with a shape in no group, none of whose objects is in a track"
            lines.append(f"annotations: {which}: {len(untracked)}, such as {min(untracked)}")
        return lines

    def _result(self, sample: Sample) -> Result:
        try:
            found = self._folder.read(sample.image_id, sample.size, tracked=sample.frame is not None)
        except SampleError as error:
            return error
        if sample.frame is not None and found.track_ids is None:
            self._untracked.append(sample.image_id)
        return sample, found
