"""Which overlays runs made: so those of deleted photos are known, and no later run takes overlays for photos."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from utils.errors import UserError
from utils.formats.base import RECORDS, relative_path
from utils.io.image_files import is_photo_gone
from utils.io.json_files import read_json
from utils.io.terminal import counted
from utils.io.writers import atomic_write, is_inside, remove_files


def record_overlays(folder: Path, made: Mapping[str, Path], *, prune: bool) -> list[str]:
    """Add the overlays of a run to the records of a folder; find those whose photo is gone.

    Args:
        folder: where overlays lie.
        made: the photo or the video of each overlay that the run made, by its path below the folder.
        prune: remove the overlays whose photo is gone.

    Returns:
        a line about overlays without photo, or none.

    Raises:
        WriterError: a file cannot be written or removed.
    """
    known = _read(folder / RECORDS)
    gone = [name for name, photo in known.items() if name not in made and is_photo_gone(_photo(folder, photo), name)]
    present = [name for name in gone if os.path.lexists(folder / name)]
    if prune:
        remove_files(folder, present)
    kept = {name: photo for name, photo in known.items() if name not in gone or (name in present and not prune)}
    content = kept | {name: relative_path(photo, folder) for name, photo in made.items()}
    if content != known:
        atomic_write(folder / RECORDS, json.dumps(content, sort_keys=True).encode())
    told = "removed" if prune else f"such as {present[0]}; --prune removes them" if present else ""
    return [f"overlays: {counted(len(present), 'overlay')} without photo, {told}"] if present else []


def _photo(folder: Path, photo: str) -> Path:
    return Path(os.path.realpath(folder), photo)


def _read(path: Path) -> dict[str, str]:
    """Read the records; none where there is no such file, or it was damaged. What names no file inside is left out."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    sound = isinstance(content, dict) and all(isinstance(photo, str) for photo in content.values())
    return {name: photo for name, photo in content.items() if is_inside(path.parent, name)} if sound else {}
