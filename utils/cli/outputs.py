"""Where the outputs of a run go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from utils.cli.options import Options, Output
from utils.config import Config
from utils.errors import UserError, refuse
from utils.formats.base import RECORDS, REVIEW
from utils.formats.registry import FORMATS, format_folder
from utils.io.writers import safe_path

SECTIONS: Mapping[Output, str] = {"evaluate": "evaluator", "visual": "predictor", "annotate": "auto_mask"}
"""Output -> the section of the config whose `save_dir` it goes to."""

FOLDERS: Mapping[Output, str] = {"evaluate": "evaluation", "visual": "masks", "annotate": "annotations"}
"""Output -> its folder below the one that `-o` names."""


def picture_folders(config: Config) -> list[Path]:
    """The folders of outputs that hold pictures, of which none is an image of a later run.

    The annotation folder is no such folder, since annotations may lie beside their photos; those of its formats are if
    this config has the format, or a run made them. (Another one of the same name is somebody's photos.)
    """
    wanted = config.auto_mask
    made = {name: format_folder(wanted.save_dir, name) for name, form in FORMATS.items() if form.has_own_folder}
    own = [folder for name, folder in made.items() if name in wanted.formats or (folder / RECORDS).is_dir()]
    review = wanted.save_dir / REVIEW
    return [config.predictor.save_dir, *own, *([review] if (review / RECORDS).exists() else [])]


def output_folders(options: Options) -> dict[str, Path]:
    """The folders that a run writes to, by the config keys that name them."""
    sections = (SECTIONS[output] for output in options.outputs)
    return {f"{section}.save_dir": getattr(options.config, section).save_dir for section in sections}


def check_writable(options: Options) -> None:
    """Raises UserError where a run could not write its outputs; no folder is made."""
    reasons = {f"{key}: {folder}": _obstacle(folder) for key, folder in output_folders(options).items()}
    refuse("No outputs can be written there:", [f"{place}: {reason}" for place, reason in reasons.items() if reason])


def check_new_file(path: Path, option: str, *, overwrite: bool) -> None:
    """Raises UserError where a file cannot be written, or is there and must not be replaced.

    Args:
        option: what names another place.
        overwrite: whether the user lets a file be replaced.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; {option} names a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: is there already; --overwrite replaces it, {option} names another file")
    if reason := _obstacle(path.parent):
        raise UserError(f"{path}: {reason}")


def _obstacle(folder: Path) -> str:
    """Why no file can be made in a folder, which need not be there yet; empty if one can."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        # Permissions alone do not tell: a disk may be read-only, a server may allow less than they say.
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"no file can be made in {nearest}: {error.strerror}"


def overlay_path(save_dir: Path, image_id: str, format: str) -> Path:
    """Return the path of an image's overlay or, for mp4, its clip's video; UserError if it is outside the folder."""
    return safe_path(save_dir, image_id.rpartition("/")[0] if format == "mp4" else image_id, f".{format}")
