"""The lists of a split: which images and which folders of frames its lines name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from datasets.folder import ImageTree, frame_id, id_of, natural_key
from utils.errors import UserError
from utils.image_files import is_image_name
from utils.voc_tree import split_lists


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
