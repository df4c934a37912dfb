"""Image files on disk: which there are, in which order, and under which ids; and a dataset of plain folders."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePath
from typing import NoReturn, Protocol

from datasets.images import read_image
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import IMAGE_SUFFIXES, is_image_name, is_unread_name, is_video_name
from utils.structures import Sample


def natural_key(name: str) -> tuple[list[list[int | str]], str]:
    """Sort key of ids and file names: folder by folder, numbers by their value, so `clip2/9` before `clip10/1`."""
    folders = [re.split(r"([0-9]+)", part) for part in name.split("/")]
    return [[int(text) if i % 2 else text for i, text in enumerate(part)] for part in folders], name


def id_of(path: PurePath) -> str:
    """The image id of a relative path: without its suffix, with forward slashes."""
    return path.with_suffix("").as_posix()


def frame_id(clip: str, index: int) -> str:
    """The image id of a frame whose file has no name of its own."""
    return f"{clip}/{index:06}"


def frame_ranges(counts: Mapping[str, int]) -> dict[str, range]:
    """The positions of the frames of each clip, given how many each has, where one clip follows the other."""
    ends = list(accumulate(counts.values(), initial=0))
    return {clip: range(start, end) for clip, start, end in zip(counts, ends, ends[1:])}


@contextmanager
def sample_errors(image_id: str, path: Path) -> Iterator[None]:
    """Blame a ValueError on one sample: the run names it and goes on."""
    try:
        yield
    except ValueError as error:
        raise SampleError(image_id, path, str(error)) from error


class ImageTree:
    """The image files below a folder; each folder is listed once, when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[Path]]] = {}

    def find(self, image_id: str) -> list[Path]:
        """The files with this id: none, one, or several that differ in their suffix."""
        folder, _, stem = image_id.rpartition("/")
        return self._listing(folder).get(stem, [])

    def ids_in(self, folder: str) -> list[str]:
        """The ids of the images that lie directly in a folder, in natural order; none if there is no such folder."""
        return sorted((f"{folder}/{stem}" for stem in self._listing(folder)), key=natural_key)

    def _listing(self, folder: str) -> dict[str, list[Path]]:
        if folder not in self._folders:
            stems = self._folders[folder] = defaultdict(list)
            for path in _images_in(self.root / folder):
                stems[path.stem].append(path)
        return self._folders[folder]


def _images_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if is_image_name(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unlisted(error) from error


def _unlisted(error: OSError) -> UserError:
    """A folder that cannot be looked into: what lies there must not be left out without a word."""
    return UserError(f"{error.filename}: the folder cannot be listed: {error.strerror}")


def duplicate_ids(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """A line for each id that has several files, such as `a.jpg` and `a.png`."""
    doubled = {image_id: paths for image_id, paths in files.items() if len(paths) > 1}
    return [f"{image_id}: one id, several files: {', '.join(map(str, paths))}" for image_id, paths in doubled.items()]


class ImageFolder:
    """The images of some folders, with all folders below them, and single files; samples have no target.

    Attributes:
        ids: paths relative to the folder given, or names of files given, without suffix; in the order given, those of
            one folder in natural order.
        paths: the image files, in the order of `ids`.
        left_out: the folders of outputs below the sources, each with how many images lie there.
        unread: videos, and photographs of kinds that are not read.
    """

    def __init__(self, sources: Sequence[Path], outputs: Iterable[Path] = ()) -> None:
        """Find the images.

        Args:
            outputs: folders that are passed over where they lie below a source.

        Raises:
            UserError: a source is missing, holds no image or is no image, or two files have the same id.
        """
        found, passed = dict[str, list[Path]](), ExcludedFolders(outputs)
        self.unread: list[Path] = []
        for source in sources:
            images, unread = _images_of(source, passed)
            self.unread += unread
            for image_id, path in images:
                paths = found.setdefault(image_id, [])
                if path not in paths:
                    paths.append(path)
        refuse("An image's id is its path below the folder, without suffix, and must be its own:", duplicate_ids(found))
        self.ids, self.paths = list(found), [paths[0] for paths in found.values()]
        self.left_out = passed.counts(is_image_name)

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            SampleError: the image cannot be read.
        """
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            return Sample(image_id, path, read_image(path))


def _images_of(source: Path, passed: ExcludedFolders) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Ids and files of the images of one folder, or of one file; and what else of the kind is not read."""
    kinds = (is_image_name, is_unread_name, is_video_name)
    found = files_of(source, lambda name: any(is_one(name) for is_one in kinds), passed)
    if files := [(image_id, path) for image_id, path in found if is_image_name(path.name)]:
        return files, [path for _, path in found if not is_image_name(path.name)]
    if any(is_video_name(path.name) for _, path in found):
        raise UserError(f"{source}: no image here, but video; --video takes it")
    raise UserError(f"{source}: no image here; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")


class ExcludedFolders:
    """The folders that are passed over where they lie below another one; notes those that were."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._folders, self._met = {os.path.realpath(folder) for folder in folders}, dict[Path, None]()

    def meets(self, folder: Path) -> bool:
        """Whether a folder is one of them."""
        if os.path.realpath(folder) not in self._folders:
            return False
        self._met[folder] = None
        return True

    def counts(self, wanted: Callable[[str], bool]) -> dict[Path, int]:
        """How many files of wanted names there are in each folder that was passed over and has any."""
        counts = {folder: len(files_of(folder, wanted, ExcludedFolders())) for folder in self._met}
        return {folder: count for folder, count in counts.items() if count}


def files_of(source: Path, wanted: Callable[[str], bool], passed: ExcludedFolders) -> list[tuple[str, Path]]:
    """Ids and files of the wanted names of a folder with all folders below it, or of one file, in natural order.

    Args:
        passed: the folders below it that do not count.

    Raises:
        UserError: there is no such folder or file, or a folder cannot be listed.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_dir():
        paths = (parent / name for parent, _, names in _visible(source, passed) for name in names if wanted(name))
        files = [(id_of(path.relative_to(source)), path) for path in paths]
    else:
        files = [(id_of(PurePath(source.name)), source)] if wanted(source.name) else []
    return sorted(files, key=lambda file: (natural_key(file[0]), file[1]))


def empty_folders(source: Path, passed: ExcludedFolders) -> list[Path]:
    """The folders in which nothing lies, below a folder."""
    return [folder for folder, folders, names in _visible(source, passed) if not folders and not names]


def _visible(folder: Path, passed: ExcludedFolders) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder and all below it, in any order, with the names of the folders and files there; what is hidden is not.

    A folder that is passed over is named, but not gone through. Links to folders are followed, but for those that lead
    back to a folder around them.
    """

    def fail(error: OSError) -> NoReturn:
        raise _unlisted(error) from error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        seen = [name for name in folders if not name.startswith(".") and not _leads_back(Path(parent, name))]
        folders[:] = [name for name in seen if not passed.meets(Path(parent, name))]
        yield Path(parent), seen, [name for name in names if not name.startswith(".")]


def _leads_back(path: Path) -> bool:
    return path.is_symlink() and path.resolve() in [around.resolve() for around in path.parents]


class Dataset(Protocol):
    """Samples by their position.

    Attributes:
        ids: their image ids.
        paths: the image files, in the order of `ids`.
    """

    ids: list[str]
    paths: list[Path]

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if it cannot be used."""
