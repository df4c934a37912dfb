"""A folder of photos that tests annotate, and what a folder holds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.helpers import annotate
from tests.helpers.evaluate import without_run
from tests.helpers.track import BOXES, REPOSITORY, moving, random_model, write_demo_config

PROGRAM = REPOSITORY / "tests" / "helpers" / "annotate.py"

FORMATS = ("labelme", "labelme-polygon", "coco", "yolo", "voc")

COUNT, BATCH = 10, 4


class Noted(annotate.Chance):
    """Notes which images go through it."""

    seconds = 0

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __call__(self, samples: Any) -> Any:
        self.seen += [sample.image_id for sample in samples]
        return super().__call__(samples)


class Project:
    """A folder with photos and a config; `run` annotates them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.photos, self.out = folder, folder / "photos", folder / "out"
        self.photos.mkdir(parents=True)
        for i in range(COUNT):
            pixels = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
            path = self.photos / ("clip" if i % 3 == 2 else "") / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
        self.settings: dict[str, Any] = json.loads((REPOSITORY / "config.json").read_text())
        for key in ("yolo_weights", "sam_config", "sam_weights"):
            self.settings["arch"][key] = str(REPOSITORY / self.settings["arch"][key])
        self.settings["dataset"] = {"classes": ["car", "airplane", "elephant", "turtle", "watercraft"]}
        self.settings["auto_mask"] = {"save_dir": "out", "formats": FORMATS}
        self.settings["dataloader"] = {"batch_size": BATCH, "num_workers": 1}
        self.seen: list[str] | None = None

    def arguments(self, *more: str) -> list[str]:
        (self.folder / "config.json").write_text(json.dumps(self.settings))
        return ["-c", str(self.folder / "config.json"), "-s", str(self.photos), *more]

    def run(self, *more: str) -> int:
        """The exit code; `seen` holds the images that were computed, or None where no cascade was even built."""
        made: list[Noted] = []

        def make() -> Noted:
            made.append(Noted())
            return made[-1]

        code = annotate.main(self.arguments(*more), make)
        self.seen = made[0].seen if made else None
        return code

    def copy_run(self, other: Project) -> None:
        """Takes what another project has after its run, as if this one had run; links lead to the photos here."""
        shutil.copytree(other.out, self.out, symlinks=True)
        for path in self.out.rglob("*"):
            if path.is_symlink():
                photo = path.readlink().relative_to(other.photos)
                path.unlink()
                path.symlink_to(self.photos / photo)
        assert self.run() == 0 and self.seen is None  # makes the indexes anew, since they hold times of files

    def ids(self) -> list[str]:
        """In the order of the run."""
        return [*(str(i) for i in range(COUNT) if i % 3 != 2), *(f"clip/{i}" for i in range(2, COUNT, 3))]

    def labelme(self, image_id: str) -> Path:
        return self.out / f"{image_id}.json"

    def edit(self, image_id: str) -> bytes:
        """Deletes or adds a shape as a person would; the new content."""
        content = json.loads(self.labelme(image_id).read_text())
        shape = {"label": "car", "points": [[1, 2], [5, 2], [5, 9]], "shape_type": "polygon", "flags": {}}
        content["shapes"] = content["shapes"][1:] or [shape]
        self.labelme(image_id).write_text(json.dumps(content))
        return self.labelme(image_id).read_bytes()


def tree(folder: Path) -> dict[str, bytes | str]:
    """Content of each file, aim of each link; without the indexes, which hold times."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir() and path.parent.suffix != ".index"
    }


def run_files(folder: Path) -> dict[str, bytes]:
    """Content of each file of a run's outputs, without what differs from run to run."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent.suffix != ".index")
    return {path.relative_to(folder).as_posix(): without_run(path.name, path.read_bytes()) for path in paths}


def assert_same_files(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Of files that differ, name all and print none: they are long."""
    names = sorted(found.keys() | expected.keys())
    assert [name for name in names if found.get(name) != expected.get(name)] == []


CLASSES = ["car", "airplane", "elephant"]

CLIPS = {"first": 5, "second": 3, "third": 1}
"""How many frames each has."""

OUTPUTS = {"evaluator": "evaluation", "predictor": "masks", "auto_mask": "annotations"}


class TinyProject:
    """Clips with masks, boxes for each of their frames, and a config; all outputs go to `out`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree, self.out = folder, folder / "tree", folder / "out"
        lists = self.tree / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        self.settings = {
            "arch": {"yolo_weights": str(REPOSITORY / "yolo" / "yolov8" / "demo.pt"), **_weights(folder)},
            "dataset": {"data_dir": "tree", "split": "val", "classes": CLASSES},
            "dataloader": {"batch_size": 2, "num_workers": 2},
            **{section: {"save_dir": f"out/{name}"} for section, name in OUTPUTS.items()},
        }
        (lists / "val_videos.txt").write_text("".join(f"{clip}\n" for clip in CLIPS))
        (lists / "val.txt").write_text("".join(f"{clip}/{i}\n" for clip, count in CLIPS.items() for i in range(count)))
        rows = [row for clip, count in CLIPS.items() for row in _write_clip(self.tree, clip, count)]
        (folder / "prompt.json").write_text(json.dumps(rows))

    def arguments(self, *more: str) -> list[str]:
        """Those of a run of clips with the boxes of the prompt file."""
        (self.folder / "config.json").write_text(json.dumps(self.settings))
        given = ["-c", str(self.folder / "config.json"), "-p", str(self.folder / "prompt.json")]
        return [*given, "--video", "--device=cpu", *more]

    def files(self) -> dict[str, bytes]:
        """Content of each file of the outputs, without what differs from run to run."""
        return run_files(self.out)


def _weights(folder: Path) -> dict[str, str]:
    """The config and the checkpoint of the model, written to a folder."""
    config, weights = write_demo_config(folder / "tiny.yaml", 64), folder / "tiny.pt"
    torch.save({"model": random_model(image_size=64).state_dict()}, weights)
    return {"sam_config": str(config), "sam_weights": str(weights)}


def _write_clip(tree: Path, clip: str, count: int) -> list[dict[str, object]]:
    """Writes frames and masks; the rows of the prompt file."""
    rows = []
    for i, image in enumerate(moving(count)):
        boxes = {1: BOXES[1] + [i, 0, i, 0], 2: BOXES[2] - [i, 0, i, 0]}
        objects = np.zeros(image.shape[:2], np.uint8)
        for number, (left, top, right, bottom) in {n: box.astype(int) for n, box in boxes.items()}.items():
            objects[top:bottom, left:right] = number
        pictures = {"JPEGImages": image, "SegmentationClass": objects, "SegmentationObject": objects}
        for name, picture in pictures.items():
            (tree / name / clip).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tree / name / clip / f"{i}.png")
        rows += [
            {"image_id": f"{clip}/{i}", "category_id": n - 1, "bbox": box.tolist(), "score": 0.5 + 0.1 * n}
            for n, box in boxes.items()
        ]
    return rows
