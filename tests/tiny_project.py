"""A Pascal-VOC tree of small clips and a SAM2 of 64 pixels with random weights, for whole runs of the scripts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tracking import BOXES, DEMO_CONFIG, REPOSITORY, moving, random_model

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
        """Content of each file of the outputs."""
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


def _weights(folder: Path) -> dict[str, str]:
    """The config and the checkpoint of the model, written to a folder."""
    config, weights = folder / "tiny.yaml", folder / "tiny.pt"
    lines = Path(DEMO_CONFIG).read_text().splitlines()
    config.write_text("\n".join("  image_size: 64" if "image_size:" in line else line for line in lines))
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
