"""Which labelme files are there, done, outdated or edited: each records within itself what it was made from.

Two extra keys at the top of a file are its stamp, which labelme keeps when it saves: the hash of the settings and that
of the content. Saving in labelme without a change changes no hash, although labelme encodes masks anew and adds flags
that are off.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.fingerprint import ImageFingerprint, hash_of, json_hash
from utils.annotations.manifest import Manifest
from utils.annotations.records import AnnotationOutput, FileStatus
from utils.errors import UserError
from utils.formats.base import Exported, photo_path
from utils.formats.labelme_reader import read_labelme_json, shapes_of
from utils.formats.review_flags import REVIEW_FLAG, flags_of
from utils.io.encoding import encode_json
from utils.io.json_files import text_problem
from utils.io.map_files import decode_mask
from utils.io.writers import atomic_write, remove_files, safe_path

SETTINGS, CONTENT = "settings_hash", "content_hash"

NOT_CONTENT = {"version", "imagePath", "imageData", "imageHeight", "imageWidth", SETTINGS, CONTENT}
"""Keys at the top of a labelme file that do not tell what is on the image."""


class LabelmeManifest(Manifest):
    """Know labelme files, one an image: each records within itself what it was made from, so that it can be moved.

    Args:
        review_below: the limit of the flag `needs_review`, which is set anew without the models.
    """

    has_records = False

    def __init__(
        self, output: AnnotationOutput, fingerprint: ImageFingerprint, review_below: float | None = None
    ) -> None:
        super().__init__(output, fingerprint, [review_below])
        self._review_below = review_below

    def _link_from(self, folder: Path, image: Path) -> str | None:
        """As that of other formats; but annotations may lie beside their photos, wherever a link leads to these."""
        return None if os.path.realpath(folder) == os.path.realpath(image.parent) else super()._link_from(folder, image)

    def status(self, image_id: str, image: Path) -> FileStatus:
        """Compare the file of an image with what the run would write; one without a stamp is a person's."""
        (path,) = self._paths(image_id)
        if os.path.lexists(path) and not path.is_file():  # a folder, or a pipe, which may never end
            return FileStatus.EDITED
        try:
            content = path.read_bytes()
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
            return FileStatus.NEW if missing else FileStatus.EDITED
        annotation = parse_if_unmodified(content)
        if annotation is None:
            try:
                shapes_of(read_labelme_json(path), path)
            except UserError as error:
                self.broken[image_id] = str(error)
            return FileStatus.EDITED
        named, photo = str(annotation.get("imagePath")), photo_path(image_id, image, self._root)
        is_same = not text_problem(named) and os.path.realpath(path.parent / named) == os.path.realpath(photo)
        if not is_same or annotation.get(SETTINGS) != self._fingerprint.exact(image_id, image):
            return FileStatus.OUTDATED
        shapes = annotation["shapes"]
        if self._review_below is not None and not all("confidence" in shape for shape in shapes):
            return FileStatus.OUTDATED  # an earlier version's
        is_flagged = all(self._flagged(shape)["flags"] == (shape.get("flags") or {}) for shape in shapes)
        return FileStatus.DONE if is_flagged else FileStatus.REFRESH

    def write(self, image_id: str, image: Path, exported: Exported) -> bool:
        """Replace the image's file; `status` has told whether that may be."""
        (path,) = self._paths(image_id)
        self._check_links(image_id, image)
        ((_, content),) = exported.files.items()
        atomic_write(path, add_stamp(content, self._fingerprint.exact(image_id, image)))
        self._note_written(image_id, image)
        return True

    def is_edited(self, image_id: str) -> bool:
        """Return whether a person edited or made the file of an image."""
        path = safe_path(self.folder, image_id, ".json")
        # Unlike Path.is_file, this takes names that are too long for the disk.
        return os.path.isfile(path) and parse_if_unmodified(path.read_bytes()) is None

    def remove(self, image_id: str) -> None:
        """Remove the file of an image that nobody edited."""
        remove_files(self.folder, [f"{image_id}.json"])

    def refresh(self, image_id: str, image: Path) -> None:
        """Set the review flags of an image's file anew, unless a person edited it meanwhile."""
        path = safe_path(self.folder, image_id, ".json")
        if annotation := parse_if_unmodified(path.read_bytes()):
            settings, _ = annotation.pop(SETTINGS), annotation.pop(CONTENT)
            annotation["shapes"] = [self._flagged(shape) for shape in annotation["shapes"]]
            with suppress(ValueError):  # a NaN that no run writes: the file stays as it is
                content = add_stamp(encode_json(annotation, indent=2), settings)
                atomic_write(path, content)

    def _flagged(self, shape: Mapping[str, Any]) -> dict[str, Any]:
        """Return a shape with the flag that the limit of the run gives it; its other flags stay."""
        others = {name: on for name, on in (shape.get("flags") or {}).items() if name != REVIEW_FLAG}
        return {**shape, "flags": {**others, **flags_of(shape.get("confidence"), self._review_below)}}


def add_stamp(content: bytes, settings: str) -> bytes:
    """Add the stamp to a labelme file that has none, as its last two keys; the rest is not encoded once more."""
    stamp = encode_json({SETTINGS: settings, CONTENT: content_hash(json.loads(content))}, indent=2)
    return content.rstrip().removesuffix(b"}").rstrip() + b"," + stamp.removeprefix(b"{")


def parse_if_unmodified(content: bytes) -> dict[str, Any] | None:
    """Parse a labelme file that was not changed since it was stamped; return None for every other file."""
    try:
        annotation = json.loads(content)
        return annotation if content_hash(annotation) == annotation.get(CONTENT) else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError):
        return None


def content_hash(annotation: Mapping[str, Any]) -> str:
    """Hash what a person may change: shapes, flags, and whatever is not known to be something else.

    Args:
        annotation: the content of a labelme file.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is none.
    """
    content = {key: value for key, value in annotation.items() if key not in NOT_CONTENT}
    shapes = [_canonical(shape) for shape in annotation["shapes"]]
    return json_hash({**content, "flags": _set_flags(annotation.get("flags")), "shapes": shapes})


def _canonical(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return a shape in a form that does not depend on who wrote it."""
    return {
        **shape,
        "points": [[float(x), float(y)] for x, y in shape["points"]],
        "description": shape.get("description") or "",
        "group_id": shape.get("group_id"),
        "flags": _set_flags(shape.get("flags")),
        "mask": shape.get("mask") and _mask_hash(shape["mask"]),
    }


def _set_flags(flags: Mapping[str, bool] | None) -> list[str]:
    """List the flags that are on; labelme adds those that its own configuration names, switched off."""
    return sorted(name for name, on in (flags or {}).items() if on)


def _mask_hash(png: str) -> list[Any]:
    """Return height, width and hash of the pixels of a base64 PNG; ValueError if it is none."""
    crop = decode_mask(png)
    return [*crop.shape, hash_of(np.packbits(crop).tobytes())]
