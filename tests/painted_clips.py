"""Painted frames, and the video files that tests write of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

FASTSTART = {"movflags": "faststart"}
"""Puts the index of an mp4 before its frames, so that a file that is cut off can be opened."""


def painted(index: int, height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8, smooth, without symmetry and another one for each of the first 33 indices."""
    rows, columns = np.mgrid[:height, :width]
    channels = [40 + columns * 3, 30 + rows * 4 + columns, np.full_like(rows, 20 + 7 * index)]
    return np.stack(channels, axis=2).astype(np.uint8)


def index_of(image: np.ndarray) -> int:
    """Which painted frame this is, after lossy coding."""
    return round((float(image[..., 2].mean()) - 20) / 7)


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str = "libx264rgb",
    pix_fmt: str = "rgb24",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Writes frames, without loss by default; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as output:
        output.metadata["title"] = title
        stream: Any = None
        for image in images:
            if stream is None:
                stream = output.add_stream(codec, rate=10, options={"qp": "0"} if options is None else options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    return path


def write_frames(folder: Path, indices: Iterable[int], name: str = "{}.png", **size: int) -> Path:
    """Writes painted frames as pictures; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        Image.fromarray(painted(index, **size)).save(folder / name.format(index))
    return folder
