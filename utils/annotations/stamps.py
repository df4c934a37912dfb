"""Stamps in labelme files: with which settings a file was made, and whether a person changed it since.

Two extra keys at the top hold them, which labelme keeps when it saves: the hash of the settings and that of the
content. Saving in labelme without a change changes no hash, although labelme encodes masks anew and adds flags that are
off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from utils.annotations.fingerprint import hash_of, json_hash
from utils.io.encoding import encode_json
from utils.io.image_files import decode_mask

SETTINGS, CONTENT = "settings_hash", "content_hash"

NOT_CONTENT = {"version", "imagePath", "imageData", "imageHeight", "imageWidth", SETTINGS, CONTENT}
"""Keys at the top of a labelme file that do not tell what is on the image."""


def add_stamp(content: bytes, settings: str) -> bytes:
    """Add the stamp to a labelme file, as its last two keys."""
    annotation = json.loads(content)
    annotation |= {SETTINGS: settings, CONTENT: content_hash(annotation)}
    return encode_json(annotation, indent=2)


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
