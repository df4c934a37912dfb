"""Image files on disk: how they are found, sorted and named by ids; and a dataset of plain folders."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePath, PurePosixPath
from typing import NoReturn, Protocol

from datasets.images import read_image
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import IMAGE_SUFFIXES, heif_advice, is_image_name, is_special, is_unread_name, is_video_name
from utils.structures import Sample


class Dataset(Protocol):
    """Samples by position.

    Attributes:
        ids: image ids.
        paths: image files, in the order of `ids`.
    """

    ids: list[str]
    paths: list[Path]

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if it cannot be used."""


def natural_key(name: str) -> tuple[list[list[int | str]], str]:
    """Compute a sort key of ids or file names: folder by folder, numbers by value, so `clip2/9` before `clip10/1`."""
    folders = [re.split(r"([0-9]+)", part) for part in name.split("/")]
    return [[int(text) if i % 2 else text for i, text in enumerate(part)] for part in folders], name


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


def duplicate_ids(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Describe each id that several files have, such as `a.jpg` and `a.png`."""
    several = ((image_id, paths) for image_id, paths in files.items() if len(paths) > 1)
    return [f"{image_id}: one id, several files: {', '.join(map(str, paths))}" for image_id, paths in several]


def ids_kept_apart(files: Mapping[str, list[Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """Give the files of one id ids with their suffix: `a.jpg` and `a.png` in place of `a`.

    Returns:
        the files by their ids, in the same order, and those ids that have a suffix now.
    """
    groups, kept = dict(files), list[str]()
    while crowded := {image_id for image_id, paths in groups.items() if len({path.name for path in paths}) > 1}:
        apart = dict[str, list[Path]]()
        for image_id, paths in groups.items():
            for path in paths:
                named = str(PurePosixPath(image_id).with_name(path.name)) if image_id in crowded else image_id
                apart.setdefault(named, []).append(path)
        groups = apart
        kept = [image_id for image_id, (path, *_) in groups.items() if PurePosixPath(image_id).name == path.name]
    return groups, kept


@contextmanager
def sample_errors(image_id: str, path: Path) -> Iterator[None]:
    """Turn a ValueError into a SampleError, so that the run reports this sample and goes on."""
    try:
        yield
    except ValueError as error:
        raise SampleError(image_id, path, str(error)) from error


class ExcludedFolders:
    """Folders to skip where they lie below another one; those that were met are remembered.

    Attributes:
        special: pipes, devices and sockets with wanted names that were met, and passed over.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self.special: list[Path] = []
        self._folders, self._met = {os.path.realpath(folder) for folder in folders}, dict[Path, None]()

    def excludes(self, folder: Path) -> bool:
        """Tell whether to skip a folder."""
        if os.path.realpath(folder) not in self._folders:
            return False
        self._met[folder] = None
        return True

    def counts(self, is_wanted: Callable[[str], bool]) -> dict[Path, int]:
        """Count the files with wanted names in each folder that was skipped and has any."""
        counts = {folder: len(find_files(folder, is_wanted, ExcludedFolders())) for folder in self._met}
        return {folder: count for folder, count in counts.items() if count}


def find_files(source: Path, is_wanted: Callable[[str], bool], excluded: ExcludedFolders) -> list[tuple[str, Path]]:
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
    if source.is_dir():
        paths = (parent / name for parent, _, names in _walk(source, excluded) for name in names if is_wanted(name))
        files = [(image_id_of(path.relative_to(source)), path) for path in paths]
    else:
        files = [(image_id_of(PurePath(source.name)), source)] if is_wanted(source.name) else []
    special = {path for _, path in files if is_special(path)}
    excluded.special += sorted(special)
    return sorted((file for file in files if file[1] not in special), key=lambda file: (natural_key(file[0]), file[1]))


def empty_folders(source: Path, excluded: ExcludedFolders) -> list[Path]:
    """Find the folders below a folder that contain nothing."""
    return [folder for folder, folders, names in _walk(source, excluded) if not folders and not names]


def _walk(folder: Path, excluded: ExcludedFolders) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk a folder, skipping hidden entries; yield each folder with the names of the folders and files in it.

    An excluded folder is named, but not entered. Links to folders are followed unless they lead to a parent folder.
    """

    def fail(error: OSError) -> NoReturn:
        raise _cannot_list(error) from error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        visible = [name for name in folders if not name.startswith(".") and not _is_loop(Path(parent, name))]
        folders[:] = [name for name in visible if not excluded.excludes(Path(parent, name))]
        yield Path(parent), visible, [name for name in names if not name.startswith(".")]


def _is_loop(path: Path) -> bool:
    return path.is_symlink() and path.resolve() in [parent.resolve() for parent in path.parents]


def _cannot_list(error: OSError) -> UserError:
    """Make the error of an unreadable folder, which is not skipped: its images would be missing without a word."""
    return UserError(f"{error.filename}: the folder cannot be listed: {error.strerror}")


class ImageTree:
    """The image files below a folder; each folder is listed once, when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[Path]]] = {}

    def find(self, image_id: str) -> list[Path]:
        """Return the files with this id: none, one, or several that differ in their suffix."""
        folder, _, stem = image_id.rpartition("/")
        return self._listing(folder).get(stem, [])

    def ids_in(self, folder: str) -> list[str]:
        """Return the ids of the images directly in a folder, in natural order; none if it does not exist."""
        return sorted((f"{folder}/{stem}" for stem in self._listing(folder)), key=natural_key)

    def _listing(self, folder: str) -> dict[str, list[Path]]:
        if folder not in self._folders:
            stems = self._folders[folder] = defaultdict(list)
            try:
                names = sorted(os.listdir(self.root / folder))
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except OSError as error:
                raise _cannot_list(error) from error
            for path in (self.root / folder / name for name in names if is_image_name(name)):
                stems[path.stem].append(path)
        return self._folders[folder]


class ImageFolder:
    """The images of folders, including all folders below them, and single files; without ground truth.

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
        found, excluded = dict[str, list[Path]](), ExcludedFolders(outputs)
        self.unread: list[Path] = []
        for source in sources:
            images, unread = _find_images(source, excluded)
            self.unread += unread
            for image_id, path in images:
                paths = found.setdefault(image_id, [])
                if path not in paths:
                    paths.append(path)
        found, self.with_suffix = ids_kept_apart(found)
        refuse("An image's id is its path below the folder, and must be unique:", duplicate_ids(found))
        self.ids, self.paths = list(found), [paths[0] for paths in found.values()]
        self.unread += excluded.special
        self.left_out = excluded.counts(is_image_name)

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if the image cannot be read."""
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            return Sample(image_id, path, read_image(path))


def _find_images(source: Path, excluded: ExcludedFolders) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Find the ids and files of the images of one source, and its unsupported photographs and videos."""
    is_known = (is_image_name, is_unread_name, is_video_name)
    found = find_files(source, lambda name: any(test(name) for test in is_known), excluded)
    if files := [(image_id, path) for image_id, path in found if is_image_name(path.name)]:
        return files, [path for _, path in found if not is_image_name(path.name)]
    if any(is_video_name(path.name) for _, path in found):
        raise UserError(f"{source}: no image here, but video; --video takes it")
    if advice := heif_advice(path for _, path in found):
        raise UserError(f"{source}: no image here that is read; {advice}")
    raise UserError(f"{source}: no image here; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
