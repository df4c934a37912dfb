"""What slices and windows are worth on large images: painted scenes, shrunk and scattered over a large background.

python -m benchmarks.large              one image of 6,000 x 6,000 px: objects of 30 to 300 px, the demo's weights

Each row is a run of `yolo_sam.py`, read from metrics.json.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import yolo_sam
from benchmarks.harness import folder_of, heading, markdown, parser_of, say, write_json
from datasets.scenes import class_names, paint_scene
from datasets.scenes.rng import SceneRng
from datasets.scenes.textures import BACKGROUNDS
from utils.config.official import PAINTED, REPOSITORY
from utils.formats.voc import CLASS_NAMES, map_files

CELL = 1000
"""Side in px of the squares of a large image, each of which holds a scene."""
SHRUNK = (0.2, 0.67)
"""Least and most of what scenes are shrunk to: their objects were 150 to 450 px long."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = parser_of("large", __doc__)
    parser.add_argument("--images", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--side", type=int, default=6000, metavar="N", help="in pixels (default: %(default)s)")
    parser.add_argument("--slice", type=int, default=640, metavar="N", help="in pixels (default: %(default)s)")
    given = parser.parse_args(argv)
    window, slices = "--set=segmenter.window=auto", f"--set=detector.slice={given.slice}"
    runs = {
        ("true", "whole"): ["--boxes=target"],
        ("true", "by window"): ["--boxes=target", window],
        ("YOLO", "whole"): [],
        ("YOLO", "by window"): [window],
        ("YOLO, slices", "whole"): [slices],
        ("YOLO, slices", "by window"): [slices, window],
    }
    with folder_of(given.folder) as temporary:
        folder, lines = Path(temporary), []
        objects = write_tree(folder / "tree", given.images, given.side)
        common = ["-c", str(REPOSITORY / "config.json"), "--device", given.device, "--set=evaluator.report=false"]
        common += ["--data", str(folder / "tree"), f"--set=evaluator.save_dir={folder}", "-b=2", *given.project]
        for (boxes, sam), options in runs.items():
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                assert yolo_sam.main([*common, *options]) == 0
            metrics = json.loads((folder / "metrics.json").read_text())
            seconds = (time.perf_counter() - began) / given.images
            lines.append({"boxes": boxes, "SAM2": sam, "mean IoU": metrics["Mean_IOU"], "s/img": seconds})
            say(lines[-1])
    print(heading(), f"{given.images} of {given.side} px, {objects} objects", "", markdown(lines), sep="\n")
    write_json(given.json, objects=objects, rows=lines)
    return 0


def write_tree(tree: Path, images: int, side: int) -> int:
    """Write large images of `side` px and their masks as a VOC tree; return how many objects they show."""
    names, total = [f"{i:03}" for i in range(images)], 0
    for number, name in enumerate(names):
        image, classes, instances = paint_large(number, side)
        total += int(instances.max())
        pictures: dict[Path, Any] = {tree / "JPEGImages" / f"{name}.jpg": image[:, :, ::-1]}
        pictures |= zip((tree / file for file in map_files(name)), (classes, instances))
        for path, picture in pictures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    lists = tree / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for path, content in ((lists / "val.txt", names), (tree / CLASS_NAMES, class_names()), (tree / PAINTED, ["{}"])):
        path.write_text("\n".join(content))
    return total


def paint_large(number: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint image (side, side, 3) uint8 RGB, class map and map of object numbers (side, side) uint8 and uint16."""
    rng = np.random.default_rng(number)
    image = BACKGROUNDS[number % len(BACKGROUNDS)](SceneRng(rng), (side, side))
    classes, instances = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint16)
    cells = np.arange(side // CELL) * CELL
    for index, (top, left) in enumerate((y, x) for y in cells for x in cells):
        scene = paint_scene(1000 + number, index)
        share = np.exp(rng.uniform(*np.log(SHRUNK)))
        height, width = (round(share * length) for length in scene.classes.shape)
        y, x = rng.integers([top, left], [top + CELL - height, left + CELL - width])
        there, size = np.s_[y : y + height, x : x + width], (width, height)
        image[there] = cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA)
        classes[there] = cv2.resize(scene.classes, size, interpolation=cv2.INTER_NEAREST)
        own = cv2.resize(scene.instances, size, interpolation=cv2.INTER_NEAREST).astype(np.uint16)
        instances[there] = np.where(own, own + instances.max(), 0)
    return image, classes, instances


if __name__ == "__main__":
    sys.exit(main())
