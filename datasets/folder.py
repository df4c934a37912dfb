"""Image files on disk: how they are found, sorted and named by ids; and a dataset of plain folders."""

from __future__ import annotations

import os
import re
import shlex
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

from utils.errors import SampleError, UserError, refuse
from utils.files import is_special
from utils.formats.base import RECORDS
from utils.io.image_files import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    VIDEO_SUFFIXES,
    has_suffix,
    heif_advice,
    is_image_name,
    is_video_name,
)
from utils.io.photos import read_image
from utils.structures import FilePaths, Sample

MAP_FOLDERS = ("SegmentationClass", "SegmentationObject")
"""Beside `JPEGImages`, they hold label maps, which are no photos."""

_NUMBER, _KNOWN_SUFFIXES = re.compile("[0-9]+"), IMAGE_SUFFIXES | UNREAD_SUFFIXES | VIDEO_SUFFIXES


class Dataset(ABC):
    """Samples by position.

    Attributes:
        ids: image ids.
        paths: image files, in the order of `ids`.
    """

    ids: list[str]
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if the image, or its mask where that is needed, is missing or cannot be used."""


def natural_key(name: str) -> str:
    """Compute a sort key of ids or file names: folder by folder, numbers by value, so `clip2/9` before `clip10/1`.

    Names cannot hold NUL, so the key uses it for what comes before any text: two for the end of a folder, one before a
    number, which begins with the count of its digits. Where numbers are equal (`1`, `01`), the name itself decides.
    """
    return _NUMBER.sub(_number_key, name.replace("/", "\0\0")) + "\0\0\0\0" + name


def _number_key(found: re.Match[str]) -> str:
    """Write a number so that texts sort by its value."""
    digits = found[0].lstrip("0")
    return f"\0\1{chr(len(digits))}{digits}"


def image_id_of(path: PurePath) -> str:
    """Convert a relative path to an image id: without suffix, with forward slashes."""
    return path.with_suffix("").as_posix()


def frame_id(clip: str, index: int) -> str:
    """Make the image id of a frame that has no file of its own."""
    return f"{clip}/{index:06}"


def frame_ranges(counts: Mapping[str, int]) -> dict[str, range]:
    """Compute the positions of each clip's frames in a list of all clips, from the number of frames of each."""
    ends = list(accumulate(counts.values(), initial=0))
    return {clip: range(start, end) for clip, start, end in zip(counts, ends, ends[1:])}


def duplicate_ids(files: Mapping[str, Sequence[str | Path]]) -> list[str]:
    """Describe each id that several files have, such as `a.jpg` and `a.png`."""
    several = ((image_id, paths) for image_id, paths in files.items() if len(paths) > 1)
    return [f"{image_id}: one id, several files: {', '.join(map(str, paths))}" for image_id, paths in several]


def ids_with_suffix(files: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Give the files of one id ids with their suffix: `a.jpg` and `a.png` in place of `a`.

    Returns:
        the files by their ids, in the same order, and those ids that have a suffix now.
    """
    groups, with_suffix = dict(files), list[str]()
    # Again, since a new id may be that of another file: `a.jpg` of `a.jpg` and of `a.jpg.png`.
    while shared := {image_id for image_id, paths in groups.items() if len({*map(os.path.basename, paths)}) > 1}:
        renamed = dict[str, list[str]]()
        for image_id, paths in groups.items():
            for path in paths:
                named = str(PurePosixPath(image_id).with_name(Path(path).name)) if image_id in shared else image_id
                renamed.setdefault(named, []).append(path)
        groups = renamed
        with_suffix = [
            image_id for image_id, (path, *_) in groups.items() if PurePosixPath(image_id).name == Path(path).name
        ]
    return groups, with_suffix


@contextmanager
def sample_errors(image_id: str, path: Path) -> Iterator[None]:
    """Turn a ValueError into a SampleError, so that the run reports this sample and goes on."""
    try:
        yield
    except ValueError as error:
        raise SampleError(image_id, path, str(error)) from error


class ExcludedFolders:
    """Decide which folders below another one are skipped, and remember those met.

    These are some by name, all with a run's records, and those of a VOC tree's label maps.

    Args:
        folders: the ones to skip by name.

    Attributes:
        special: pipes, devices and sockets with wanted names that were met, and passed over.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self.special: list[Path] = []
        self._folders, self._met = {os.path.realpath(folder) for folder in folders}, dict[Path, None]()

    def excludes(self, folder: Path) -> bool:
        """Return whether to skip a folder."""
        is_output = os.path.realpath(folder) in self._folders or os.path.lexists(folder / RECORDS)
        if not is_output and not (folder.name in MAP_FOLDERS and (folder.parent / "JPEGImages").is_dir()):
            return False
        self._met[folder] = None
        return True

    def counts(self, is_wanted: Callable[[str], bool]) -> dict[Path, int]:
        """Count the files with wanted names in each folder that was skipped and has any."""
        counts = {folder: len(find_files(folder, is_wanted, ExcludedFolders())) for folder in self._met}
        return {folder: count for folder, count in counts.items() if count}


def find_files(source: Path, is_wanted: Callable[[str], bool], excluded: ExcludedFolders) -> list[tuple[str, str]]:
    """Find the files with wanted names in a folder and all folders below it, or check one file.

    Pipes, devices and sockets are passed over: reading them may block or never end.

    Returns:
        ids and files, in natural order.

    Raises:
        UserError: the source does not exist or is neither file nor folder, or a folder cannot be listed.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if is_special(source):
        raise UserError(f"{source}: a pipe, a device or a socket, neither file nor folder; give a file or a folder")
    root, special = str(source), list[Path]()
    if source.is_dir():
        names = []
        for name, entry, kind in _walk(root, excluded):
            if kind == "file" and is_wanted(entry.name):
                # The listing tells what is a file; only for the rest is the disk asked again.
                if not _holds(entry.is_file) and is_special(Path(entry.path)):
                    special.append(Path(entry.path))
                else:
                    names.append(name)
    else:
        root, names = str(source.parent), [source.name] if is_wanted(source.name) else []
    excluded.special += sorted(special)
    names.sort()  # which decides where ids are equal
    names.sort(key=lambda name: natural_key(_without_suffix(name)))
    root = root.rstrip("/") + "/"
    return [(_without_suffix(name), root + name) for name in names]


def _without_suffix(name: str) -> str:
    """Remove the suffix of a relative path that has one; quicker than `image_id_of`."""
    return name[: name.rindex(".")]


def empty_folders(source: Path, excluded: ExcludedFolders) -> list[Path]:
    """Find the folders below a folder that contain nothing."""
    found = [(name, kind) for name, _, kind in _walk(str(source), excluded)]
    filled = {name.rpartition("/")[0] for name, _ in found}
    return [source / name for name, kind in found if kind == "folder" and name not in filled]


def _walk(
    root: str, excluded: ExcludedFolders
) -> Iterator[tuple[str, os.DirEntry[str], Literal["file", "folder", "excluded"]]]:
    """Walk a folder, skipping hidden entries; yield the path of each other one below the folder, and what it is.

    An excluded folder is named, but not entered. Links to folders are followed unless they lead to a parent folder.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(f"{root}/{below}".rstrip("/") or "/") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name, path = below + entry.name, Path(entry.path) if _holds(entry.is_dir) else None
                    if path is None:
                        yield name, entry, "file"
                    elif entry.is_symlink() and path.resolve() in [parent.resolve() for parent in path.parents]:
                        continue
                    elif excluded.excludes(path):
                        yield name, entry, "excluded"
                    else:
                        yield name, entry, "folder"
                        waiting.append(f"{name}/")
        except OSError as error:
            raise _cannot_list(error) from error


def _holds(check: Callable[[], bool]) -> bool:
    """Return the result of `is_file` or `is_dir` of a folder's entry; False where it fails, as of a link to itself."""
    try:
        return check()
    except OSError:
        return False


def _cannot_list(error: OSError) -> UserError:
    """Make the error of an unreadable folder, which is not skipped: its images would be missing without a word."""
    return UserError(f"{error.filename}: the folder cannot be listed: {error.strerror}")


class ImageTree:
    """Look up image files below a folder; each folder is listed once, when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, image_id: str) -> list[str]:
        """Return the files with this id: none, one, or several that differ in their suffix."""
        folder, slash, stem = image_id.rpartition("/")
        return [f"{self.root}/{folder}{slash}{name}" for name in self._listing(folder).get(stem, ())]

    def ids_in(self, folder: str) -> list[str]:
        """Return the ids of the images directly in a folder, in natural order; none if it does not exist."""
        return sorted((f"{folder}/{stem}" for stem in self._listing(folder)), key=natural_key)

    def _listing(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            stems = self._folders[folder] = defaultdict(list)
            try:
                names = sorted(os.listdir(self.root / folder))
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except OSError as error:
                raise _cannot_list(error) from error
            for name in filter(is_image_name, names):
                stems[_without_suffix(name)].append(name)
        return self._folders[folder]


class ImageFolder(Dataset):
    """Hold the images of folders, including all folders below them, and single files; without ground truth.

    Attributes:
        ids: without suffix, paths relative to their source folder or names of single files; in the order of the
            sources, within one folder in natural order.
        paths: image files, in the order of `ids`.
        left_out: number of images in each excluded folder below the sources.
        unread: videos, photographs of formats that are not supported, and what is no file.
        with_suffix: the ids that keep their suffix, since several files differ in nothing else.
    """

    def __init__(self, sources: Sequence[Path], outputs: Iterable[Path] = ()) -> None:
        """Find the images.

        Args:
            outputs: folders to exclude below the sources.

        Raises:
            UserError: a source does not exist, contains no image or is none, or two files have the same id.
        """
        excluded, found = ExcludedFolders(outputs), list[tuple[str, str]]()
        self.unread: list[Path] = []
        for source in sources:
            images, unread = _find_images(source, excluded)
            self.unread += unread
            found += images
        self.ids, files = [image_id for image_id, _ in found], [file for _, file in found]
        self.with_suffix: list[str] = []
        if len({*self.ids}) < len(found):  # else a table of lists would only take memory
            self.ids, files, self.with_suffix = _unique_ids(found)
        self.paths = FilePaths(files)
        self.unread += excluded.special
        self.left_out = excluded.counts(is_image_name)

    def load(self, index: int) -> Sample:
        """See Dataset."""
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            return Sample(image_id, path, read_image(path))


def _unique_ids(found: Iterable[tuple[str, str]]) -> tuple[list[str], list[str], list[str]]:
    """Name a file once that several sources name; give files of one id ids with their suffix.

    Returns:
        ids, their files, and the ids that have a suffix now.

    Raises:
        UserError: two files still have the same id.
    """
    groups = dict[str, list[str]]()
    for image_id, file in found:
        if file not in (files := groups.setdefault(image_id, [])):
            files.append(file)
    groups, with_suffix = ids_with_suffix(groups)
    refuse("An image's id is its path below the folder, and must be unique:", duplicate_ids(groups))
    return list(groups), [files[0] for files in groups.values()], with_suffix


def _find_images(source: Path, excluded: ExcludedFolders) -> tuple[list[tuple[str, str]], list[Path]]:
    """Find the ids and files of the images of one source, and its unsupported photographs and videos."""
    found = find_files(source, lambda name: has_suffix(name, _KNOWN_SUFFIXES), excluded)
    others = [Path(path) for _, path in found if path[path.rindex(".") :].lower() not in IMAGE_SUFFIXES]
    if found and not others:
        return found, others
    if images := [entry for entry in found if is_image_name(os.path.basename(entry[1]))]:
        return images, others
    if any(is_video_name(path.name) for path in others):
        raise UserError(f"{source}: no image here, but video; --video takes it")
    if advice := heif_advice(others):
        raise UserError(f"{source}: no image here that is read; {advice}")
    if source.suffix.lower() in (".yaml", ".yml"):
        typed = shlex.quote(str(source.parent))
        raise UserError(f"{source}: describes a YOLO dataset, which goes by -s {typed} -p {typed}")
    raise UserError(f"{source}: no image here; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
