"""Read annotations of any format in place of the models."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from utils.classes import ClassIndex
from utils.distributed import Session
from utils.engine import Result, RunImages
from utils.errors import SampleError, UserError
from utils.formats.labelme_reader import LabelmeFiles, check_size
from utils.formats.registry import predictions_of
from utils.formats.voc import VocTree
from utils.io.image_files import shared_stems
from utils.io.terminal import counted, warn
from utils.matching import place_below, several_folders
from utils.prompts.readers import VOC_BOXES
from utils.prompts.table import PromptSource
from utils.structures import Instances, Sample

CHECKED_FIRST = 1000
"""Images whose masks or annotations are read before a run begins; errors in later ones are named at the end of it."""


class AnnotationFolder:
    """Read the annotations of the images of a run; images are found by ids, paths or names of files.

    Args:
        path: a folder of labelme files, a file or folder of COCO instances, a file of COCO results or a folder with one
            and its instances file, a folder of YOLO labels, a VOC tree, or a folder of label maps: known by content.
        index: class ids of names, and what ids in files mean.
        offset: where the category ids of COCO results begin, if somebody says it: `0`, `1` or `coco91`.
        images: those of the run. Where they lie below the folder, as those of one split do, annotations of the same
            place are theirs.

    Attributes:
        files: what was opened.

    Raises:
        UserError: it is of no known format, may be of several, or cannot be used.
    """

    def __init__(
        self, path: Path, index: ClassIndex, offset: str | None = None, images: RunImages | None = None
    ) -> None:
        place = "" if images is None else place_below(path, images.ids, images.paths)
        self.path, self.files = path, predictions_of(path)(path, index, offset, place)

    def read(self, image_id: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        """Read the objects of an image.

        Args:
            size: (height, width) of the image in pixels.
            tracked: it is a frame of a clip, and labelme's shapes of one group are one track through the clip.

        Raises:
            SampleError: there is no annotation, or it cannot be used.
        """
        place = self.files.place(image_id)
        try:
            key = self.files.key(image_id)
            if key is None and not self.files.complete:
                named = f' "{image_id}"' if place == self.path else ""
                raise UserError(f"the image{named} has no annotation")
            found = Instances.from_masks(size, [], []) if key is None else self.files.read(key, size, tracked)
            check_size(found.size, size, place)
        except UserError as error:
            raise SampleError(image_id, place, str(error).removeprefix(f"{place}: ")) from error
        return found

    def coverage(self, image_ids: Sequence[str]) -> str:
        """Say how many of its images are in a run; nothing where it has no list of them, as labelme files."""
        if (keys := self.files.keys) is None:
            return ""
        used = len({key for image_id in image_ids if (key := self.files.key(image_id)) is not None})
        whole, verb = counted(len(keys), "image"), "is" if used == 1 else "are"
        in_run = f"{used} of {whole} {verb} in the run, which has {counted(len(image_ids), 'image')}"
        return f": {self.files.title}, {in_run}"

    def problems(self, images: RunImages, session: Session) -> list[str]:
        """Check the first annotations of a run before work begins; none may be for two images.

        An image without an annotation is no problem, but a folder without any is one.

        Args:
            images: those of the run.
            session: the processes of the run, each of which looks at a part.

        Returns:
            what is wrong, a line each.
        """
        files = self.files
        found = ((i, key) for i, image_id in enumerate(images.ids) if (key := files.key(image_id)) is not None)
        try:
            # A folder without a list of its images is asked for each one, which takes long.
            there = list(islice(found, CHECKED_FIRST) if files.keys is None else found)
        except UserError as error:
            return [str(error)]
        for stem, i in shared_stems(images.ids) if files.complete else ():  # else those without any are named
            if files.key(images.ids[i]) is None and (key := files.key(stem)) is not None:
                alike = f"{images.ids[i]} or another image whose name differs in the suffix alone"
                return [f'"{key}" may be for {alike}; move one of them to another folder']
        if not self.path.exists():
            return [f"{self.path}: No such file or directory"]
        if images.ids and not there and (files.keys or not files.complete):
            return [files.lacking(images.ids[0]) + (self._others() if isinstance(files, LabelmeFiles) else "")]
        if shared := [key for key, count in Counter(key for _, key in there).items() if count > 1]:
            meant = [images.ids[i] for i, key in there if key == shared[0]]
            return [f'"{shared[0]}" may be for {meant[0]} or {meant[1]}: names without folders collide']
        if isinstance(files, VocTree) and (maps := [i for i, key in there if files.is_map(key, images.paths[i])]):
            kind = "is a label map here," if len(maps) == 1 else "are label maps here, such as"
            fact = f"{counted(len(maps), 'image')} of the run {kind} {images.paths[maps[0]]}"
            return [f"{fact}: photos and label maps need folders of their own; -s names that of the photos"]
        if folders := several_folders((key, images.ids[i]) for i, key in there):
            warn([f"{self.path}: holds the images of the run in several folders: {folders}; if one is meant, name it"])
        mine = session.own_share(there[:CHECKED_FIRST])
        positions, keys = [i for i, _ in mine], [key for _, key in mine]
        with ThreadPoolExecutor() as pool:
            checked = [*zip(positions, pool.map(files.problems, keys, images.sizes(positions)))]
        warn(next(filter(None, session.gather([files.doubts()])), []))  # of one process, since each read other files
        return [problem for _, problems in sorted(session.gather(checked)) for problem in problems]

    def _others(self) -> str:
        """Say what a folder holds in place of labelme files."""
        source = PromptSource(self.path)
        if VOC_BOXES.recognizes(source):
            return f"; -p takes {VOC_BOXES.title} as prompts, and SAM2 makes the masks"
        for path in [] if LabelmeFiles.recognizes(self.path) else source.files[".json"][:1]:
            try:
                return f"; -a {shlex.quote(str(path))} takes {AnnotationFolder(path, self.files.index).files.title}"
            except UserError as error:
                return f"; {error}"
        return ""


def annotation_problems(
    path: Path,
    index: ClassIndex,
    offset: str | None,
    images: RunImages,
    session: Session,
    *,
    label_map: bool = False,
) -> list[str]:
    """Check annotations before work begins: what cannot be opened, and what is wrong with the first images.

    Args:
        label_map: whether the run has a `dataset.label_map`.
    """
    try:
        folder = AnnotationFolder(path, index, offset, images)
    except UserError as error:
        return [str(error)]
    if offset is not None and not folder.files.has_category_ids:
        warn([f"--category-offset {offset} changes nothing in {path}, which says itself what its classes are"])
    if label_map and isinstance(folder.files, VocTree):
        warn([f"dataset.label_map is for masks of the dataset alone; values of the maps in {path} count as labels"])
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
        lines = [f"annotations: {self._folder.path}, no model was loaded"]
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
