"""Painted scenes as a Pascal VOC tree, with the boxes that a perfect detector would find."""

from __future__ import annotations

import io
import json
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from datasets.folder import frame_id
from datasets.scenes.composition import Style
from datasets.scenes.painting import Scene, class_names, paint_clip, paint_scene
from utils.classes import VOC_PALETTE
from utils.errors import UserError
from utils.formats.voc import CLASS_NAMES, map_files, split_lists
from utils.io.writers import atomic_write


@dataclass(frozen=True)
class Order:
    """What to paint into one split of a tree.

    Attributes:
        seed: the same seed paints the same pixels.
        count: number of single images, named `<split>_00000` and so on.
        split: the split's name; all names begin with it, so splits of one tree cannot collide.
        clips: number of clips, folders of frames named `<split>_clip_000` and so on.
        frames: number of frames in a clip.
        quality: of the JPEG files.
        style: kind of the scenes.

    Raises:
        UserError: there is nothing to paint, or a value makes no sense.
    """

    seed: int
    count: int
    split: str = "val"
    clips: int = 0
    frames: int = 12
    quality: int = 92
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        if min(self.seed, self.count, self.clips) < 0 or self.count + self.clips == 0 or self.frames < 1:
            raise UserError("seed, count and clips are at least 0, frames at least 1, and there is something to paint")
        if not 1 <= self.quality <= 95:
            raise UserError(f"quality {self.quality} is not within 1 to 95")
        if not 0 <= self.style.visible <= 1:
            raise UserError(f"visible: {self.style.visible} is not within 0 to 1")
        if not re.fullmatch(r"[\w-]+", self.split):
            raise UserError(f"split {self.split!r}: its name takes letters, digits, - and _ only")

    @property
    def image_ids(self) -> list[str]:
        """Names of the single images."""
        return [f"{self.split}_{index:05d}" for index in range(self.count)]

    @property
    def clip_ids(self) -> list[str]:
        """Names of the clips."""
        return [f"{self.split}_clip_{index:03d}" for index in range(self.clips)]


def write_split(root: Path, order: Order, workers: int = 1) -> int:
    """Paint a split into a new tree, or beside the splits of an existing one, whose prediction.json it extends.

    Args:
        root: the tree's folder.
        workers: number of processes that paint, at least 1.

    Returns:
        the number of boxes.

    Raises:
        UserError: the tree has the split already, or was painted with other classes, or there is no worker.
        WriterError: a file cannot be written.
    """
    images, videos = (root / name for name in split_lists(order.split))
    if images.exists() or videos.exists():
        raise UserError(f"{root} already has a split {order.split}; choose another name or another folder")
    if workers < 1:
        raise UserError(f"{workers} processes cannot paint")
    names = class_names(order.style.things)
    known = root / CLASS_NAMES
    if known.exists() and known.read_text().splitlines() != list(names):
        raise UserError(f"{known} lists other classes than {', '.join(names)}")
    rows = [row for rows in _painted(root, order, workers) for row in rows]
    _extend_prompts(root / "prediction.json", rows)
    _write_lines(known, names)
    if order.clips:
        _write_lines(videos, order.clip_ids)
    _write_lines(images, order.image_ids)  # last: it marks the split as complete
    return len(rows)


def _painted(root: Path, order: Order, workers: int) -> Iterator[list[dict[str, Any]]]:
    """Paint and write everything; the rows of prediction.json come in order, whoever paints."""
    # Spawned, because OpenCV's threads do not survive a fork; and processes beside each other need no threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, cv2.setNumThreads, (1,)) as pool:
        run = pool.map if workers > 1 else map
        yield from run(partial(_write_image, root, order), range(order.count))
        yield from run(partial(_write_clip, root, order), range(order.clips))


def _write_image(root: Path, order: Order, index: int) -> list[dict[str, Any]]:
    scene = paint_scene(order.seed, index, order.style)
    return _write_scene(root, order.image_ids[index], scene, order.quality)


def _write_clip(root: Path, order: Order, index: int) -> list[dict[str, Any]]:
    folder = order.clip_ids[index]
    clip = paint_clip(order.seed, index, order.frames, order.style)
    frames = [_write_scene(root, frame_id(folder, at), scene, order.quality) for at, scene in enumerate(clip)]
    return [row for rows in frames for row in rows]


def _write_scene(root: Path, image_id: str, scene: Scene, quality: int) -> list[dict[str, Any]]:
    """Write one image and its masks; its rows of prediction.json."""
    image = Image.fromarray(scene.image)
    atomic_write(root / "JPEGImages" / f"{image_id}.jpg", _encoded(image, "JPEG", quality=quality))
    for name, labels in zip(map_files(image_id), (scene.classes, scene.instances)):
        atomic_write(root / name, _encoded(_index_map(labels), "PNG", optimize=True))
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box.tolist(), "score": 1.0}
        for class_id, box in zip(scene.class_ids, scene.boxes)
        if box.any()
    ]


def _index_map(labels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(labels)
    picture.putpalette(VOC_PALETTE)
    return picture


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    contents = io.BytesIO()
    picture.save(contents, form, **options)
    return contents.getvalue()


def _extend_prompts(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows; they replace those of the same images that an interrupted run may have left."""
    painted = {row["image_id"] for row in rows}
    earlier = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in earlier if row["image_id"] not in painted]
    atomic_write(path, json.dumps(kept + rows).encode())


def _write_lines(path: Path, lines: list[str] | tuple[str, ...]) -> None:
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())
