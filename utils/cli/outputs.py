"""Find and check the folders and files that a run writes to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from utils.cli.options import Options, Output
from utils.config import Config
from utils.errors import UserError, refuse
from utils.formats.base import FRAME_SUFFIX, RECORDS, REVIEW
from utils.formats.registry import FORMATS, format_folder
from utils.formats.voc import map_files
from utils.io.image_files import is_video_name
from utils.io.writers import link_from, safe_path

SECTIONS: Mapping[Output, str] = {"evaluate": "evaluator", "visual": "predictor", "annotate": "auto_mask"}
"""Output -> section of the config whose `save_dir` is its folder."""

FOLDERS: Mapping[Output, str] = {"evaluate": "evaluation", "visual": "masks", "annotate": "annotations"}
"""Output -> its folder below the one that `-o` names."""


def picture_folders(config: Config) -> list[Path]:
    """List the output folders that hold pictures, which later runs must not take for photos.

    The annotation folder itself is not among them, since annotations may lie beside their photos. The folder of a
    format is, if this config has the format or a run made the folder; otherwise it may hold somebody's photos.
    """
    wanted = config.auto_mask
    made = {name: format_folder(wanted.save_dir, name) for name, form in FORMATS.items() if form.has_own_folder}
    own = [folder for name, folder in made.items() if name in wanted.formats or (folder / RECORDS).is_dir()]
    review = wanted.save_dir / REVIEW
    return [config.predictor.save_dir, *own, *([review] if (review / RECORDS).exists() else [])]


def output_folders(options: Options) -> dict[str, Path]:
    """Return the folders that a run writes to, by the config keys that name them."""
    sections = (SECTIONS[output] for output in options.outputs)
    return {f"{section}.save_dir": getattr(options.config, section).save_dir for section in sections}


def check_writable(options: Options) -> None:
    """Raise UserError if a run could not write its outputs; no folder is made."""
    reasons = {f"{key}: {folder}": _obstacle(folder) for key, folder in output_folders(options).items()}
    refuse("No outputs can be written there:", [f"{place}: {reason}" for place, reason in reasons.items() if reason])


def check_new_file(path: Path, option: str, *, overwrite: bool) -> None:
    """Raise UserError if a file cannot be written, or exists and must not be replaced.

    Args:
        option: the option that names another file, for the message.
        overwrite: whether the user allows an existing file to be replaced.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; {option} names a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: is there already; --overwrite replaces it, {option} names another file")
    if reason := _obstacle(path.parent):
        raise UserError(f"{path}: {reason}")


def overlay_path(save_dir: Path, image_id: str, format: str) -> Path:
    """Return the path of an image's overlay or, for mp4, its clip's video; UserError if it is outside the folder."""
    return safe_path(save_dir, image_id.rpartition("/")[0] if format == "mp4" else image_id, f".{format}")


def check_overlays(options: Options, image_ids: Sequence[str], images: Sequence[Path]) -> None:
    """Raise UserError if overlays would leave their folder, or take the place of images, masks or frames of videos.

    Args:
        images: the file of each image.
    """
    if "visual" not in options.outputs:
        return
    look, root = options.config.predictor, options.config.dataset.data_dir
    folders = {image_id.rpartition("/")[0] for image_id in image_ids}
    # Overlays replace names in folders, so only a folder that holds overlays and images of the run matters.
    written = {overlay_path(look.save_dir, f"{folder}/x".lstrip("/"), look.format).parent for folder in folders}
    linked = [f"{folder}: {aim}" for folder in sorted(written) if (aim := link_from(folder, look.save_dir))]
    refuse("predictor.save_dir: no overlay is written through a link; put a folder in its place:", linked)
    replace, advice = f"predictor.save_dir: {look.save_dir}: overlays there would replace", "choose another folder"
    if shared := {*map(_identity, written)} - {None}:
        maps = (root / name for image_id in image_ids for name in map_files(image_id)) if root else ()
        identity = cache(_identity)
        files = dict.fromkeys(file for file in chain(images, maps) if identity(file.parent) in shared)
        places = {overlay_path(look.save_dir, image_id, look.format) for image_id in image_ids} if files else set()
        there = {_identity(place) for place in places} - {None}
        refuse(f"{replace} images or masks; {advice}:", [str(file) for file in files if _identity(file) in there])
    if frames := _frames_of_videos(options, image_ids, images):
        real = Path(os.path.realpath(look.save_dir))
        overlays = (str(overlay_path(real, image_id, look.format)) for image_id in image_ids)
        reason = f"the frames of videos that annotating writes; {advice}"
        refuse(f"{replace} {reason}:", [overlay for overlay in overlays if overlay in frames])


def _obstacle(folder: Path) -> str:
    """Return why no file can be made in a folder, which need not exist yet; "" if one can."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        # Permissions alone do not tell: a disk may be read-only, a server may allow less than they say.
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"no file can be made in {nearest}: {error.strerror}"


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, by whichever path; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _frames_of_videos(options: Options, image_ids: Sequence[str], images: Sequence[Path]) -> set[str]:
    """Return the real paths of the frames of video files that annotating writes as images."""
    if not options.video or "annotate" not in options.outputs:
        return set()
    filmed = [image_id for image_id, path in zip(image_ids, images) if is_video_name(path.name)]
    frames, folder = set(), Path(os.path.realpath(options.config.auto_mask.save_dir))
    for name in options.config.auto_mask.formats:
        photo, below = FORMATS[name].photo, format_folder(folder, name)
        stems = (below / photo(image_id) if photo else folder / image_id for image_id in filmed)
        frames |= {f"{stem}{FRAME_SUFFIX}" for stem in stems}
    return frames
