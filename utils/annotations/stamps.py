"""labelme files tell by themselves with which settings they were made and whether a person changed them since.

Two extra keys at the top do it, which labelme keeps when it saves: the hash of the settings and that of the content.
Saving in labelme without a change changes no hash, although labelme encodes masks anew and adds flags that are off.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.annotations.fingerprint import Sign, fingerprint, hash_of
from utils.annotations.records import State
from utils.formats.base import Exported, photo_path
from utils.io.encoding import encode_json
from utils.io.writers import atomic_write, safe_path

SETTINGS, CONTENT = "settings_hash", "content_hash"

NO_CONTENT = {"version", "imagePath", "imageData", "imageHeight", "imageWidth", SETTINGS, CONTENT}
"""Keys at the top of a labelme file that do not tell what is on the image."""


class StampedFiles:
    """labelme files, one an image, each with its stamp; see RecordedFiles for the methods and the arguments.

    Args:
        frames: where the frames of video files lie as images; None: in the folder itself.
    """

    def __init__(self, folder: Path, sign: Sign, frames: Path | None = None) -> None:
        self.folder, self._sign, self._frames = folder, sign, frames or folder

    def state(self, image_id: str, image: Path) -> State:
        """How the file of an image stands now; one that is no labelme file, or has no stamp, is a person's."""
        path = self._path(image_id)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return State.NEW
        except OSError:
            return State.EDITED
        annotation = untouched(content)
        if annotation is None:
            return State.EDITED
        photo = photo_path(image_id, image, self._frames)
        same_image = _same_file(path.parent / str(annotation.get("imagePath")), photo)
        settings = self._sign(image_id, image)
        return State.DONE if same_image and annotation.get(SETTINGS) == settings else State.OUTDATED

    def write(self, image_id: str, image: Path, exported: Exported, *, overwrite: bool) -> bool:
        """Replaces the image's file; `state` has told whether it may.

        Raises:
            WriterError: no space, no permission.
        """
        ((_, content),) = exported.files.items()
        atomic_write(self._path(image_id), stamped(content, self._sign(image_id, image)))
        return True

    def _path(self, image_id: str) -> Path:
        return safe_path(self.folder, image_id, ".json")


def stamped(content: bytes, settings: str) -> bytes:
    """A labelme file with its stamp."""
    annotation = json.loads(content)
    annotation |= {SETTINGS: settings, CONTENT: content_hash(annotation)}
    return encode_json(annotation, indent=2)


def untouched(content: bytes) -> dict[str, Any] | None:
    """What a labelme file says that was not changed since it was stamped; None for every other file."""
    try:
        annotation = json.loads(content)
        return annotation if content_hash(annotation) == annotation.get(CONTENT) else None
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def content_hash(annotation: Mapping[str, Any]) -> str:
    """The hash of what a person may change: shapes, flags, and whatever is not known to be something else.

    Args:
        annotation: the content of a labelme file.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is none.
    """
    content = {key: value for key, value in annotation.items() if key not in NO_CONTENT}
    shapes = [_canonical(shape) for shape in annotation["shapes"]]
    return fingerprint({**content, "flags": _ticked(annotation.get("flags")), "shapes": shapes})


def _canonical(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A shape in a form that does not depend on who wrote it."""
    return {
        **shape,
        "points": [[float(x), float(y)] for x, y in shape["points"]],
        "description": shape.get("description") or "",
        "group_id": shape.get("group_id"),
        "flags": _ticked(shape.get("flags")),
        "mask": shape.get("mask") and _pixels(shape["mask"]),
    }


def _ticked(flags: Mapping[str, bool] | None) -> list[str]:
    """The flags that are on; labelme adds those that its own configuration names, switched off."""
    return sorted(name for name, on in (flags or {}).items() if on)


def _decoded(png: str) -> np.ndarray:
    """The pixels of a base64 PNG, foreground is not 0; ValueError if it is none."""
    try:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, binascii.Error) as error:
        raise ValueError("not a base64 PNG") from error
    if image is None:
        raise ValueError("not a PNG")
    return image != 0


def _pixels(png: str) -> list[Any]:
    """Shape and hash of a mask's pixels."""
    pixels = _decoded(png)
    return [*pixels.shape, hash_of(np.packbits(pixels).tobytes())]


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, there or not."""
    return os.path.realpath(one) == os.path.realpath(other)
