"""Painted scenes written as a Pascal VOC tree."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.dice import POOLS
from datasets.scenes import Scene, class_names, paint_clip, paint_scene


def voc_palette() -> list[int]:
    """The 256 RGB colours of Pascal VOC masks, as 768 values."""
    colors = []
    for index in range(256):
        for channel in range(3):
            bits = [(index >> (3 * place + channel)) & 1 for place in range(3)]
            colors.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colors


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file at once: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_scene(root: Path, image_id: str, scene: Scene, quality: int) -> list[dict]:
    """Write one scene's picture and masks below `root`; return its rows of prediction.json."""
    jpeg = io.BytesIO()
    Image.fromarray(scene.image).save(jpeg, "JPEG", quality=quality)
    write_bytes(root / "JPEGImages" / f"{image_id}.jpg", jpeg.getvalue())
    for folder, mask in (("SegmentationClass", scene.classes), ("SegmentationObject", scene.instances)):
        png = io.BytesIO()
        picture = Image.fromarray(mask)
        picture.putpalette(voc_palette())
        picture.save(png, "PNG", optimize=True)
        write_bytes(root / folder / f"{image_id}.png", png.getvalue())
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box.tolist(), "score": 1.0}
        for class_id, box in zip(scene.class_ids, scene.boxes, strict=True)
        if box.any()
    ]


@dataclass(frozen=True)
class Order:
    """What to paint into one split."""

    seed: int
    count: int
    split: str = "val"
    clips: int = 0
    frames: int = 12
    quality: int = 92
    style: dict = field(default_factory=dict)


def _write_image(order: Order, root: Path, index: int) -> list[dict]:
    scene = paint_scene(order.seed, index, **order.style)
    return write_scene(root, f"{order.split}_{index:05d}", scene, order.quality)


def _write_clip(order: Order, root: Path, index: int) -> list[dict]:
    rows = []
    for frame, scene in enumerate(paint_clip(order.seed, index, order.frames, **order.style)):
        rows += write_scene(root, f"{order.split}_clip_{index:03d}/{frame:06d}", scene, order.quality)
    return rows


def write_split(root: Path, order: Order, workers: int = 1) -> int:
    """Paint a split into the tree `root`, beside other splits; return the number of boxes.

    Raises FileExistsError if the tree already has that split, ValueError if it has other classes.
    """
    lists = root / "ImageSets" / "Segmentation"
    names = "".join(f"{name}\n" for name in class_names(bool(order.style.get("things"))))
    if (lists / f"{order.split}.txt").exists() or (lists / f"{order.split}_videos.txt").exists():
        raise FileExistsError(f"{root} already has a split named {order.split}")
    known = root / "class_names.txt"
    if known.exists() and known.read_text() != names:
        raise ValueError(f"{known} lists other classes")
    rows = list(_paint_all(root, order, workers))
    predictions = root / "prediction.json"
    if predictions.exists():
        rows = json.loads(predictions.read_text()) + rows
    write_bytes(predictions, json.dumps(rows).encode())
    write_bytes(known, names.encode())
    images = "".join(f"{order.split}_{index:05d}\n" for index in range(order.count))
    clips = "".join(f"{order.split}_clip_{index:03d}\n" for index in range(order.clips))
    if clips:
        write_bytes(lists / f"{order.split}_videos.txt", clips.encode())
    write_bytes(lists / f"{order.split}.txt", images.encode())
    return len(rows)


def _paint_all(root: Path, order: Order, workers: int) -> Iterator[dict]:
    jobs = ((_write_image, range(order.count)), (_write_clip, range(order.clips)))
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            for job, indices in jobs:
                for rows in pool.map(partial(job, order, root), indices, chunksize=4):
                    yield from rows
    else:
        for job, indices in jobs:
            for index in indices:
                yield from job(order, root, index)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m datasets.scenes", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="number of images")
    parser.add_argument("--out", type=Path, required=True, help="the tree to paint into")
    parser.add_argument("--split", default="val")
    parser.add_argument("--pool", choices=POOLS, default="heldout")
    parser.add_argument("--clips", type=int, default=0)
    parser.add_argument("--frames", type=int, default=12, help="frames of a clip")
    parser.add_argument("--quality", type=int, default=92, help="of the JPEG images")
    parser.add_argument("--workers", type=int, default=1)
    for option in ("void", "things", "plain"):
        parser.add_argument(f"--{option}", action="store_true")
    args = parser.parse_args(argv)
    style = {"pool": args.pool, "things": args.things, "plain": args.plain, "void": args.void}
    order = Order(args.seed, args.count, args.split, args.clips, args.frames, args.quality, style)
    try:
        boxes = write_split(args.out, order, args.workers)
    except (FileExistsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {args.count} images, {args.clips} clips, {boxes} boxes")
    return 0
