"""A folder of photos that tests annotate, and what a folder holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import annotating
import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
PROGRAM = REPOSITORY / "tests" / "annotating.py"
FORMATS = ("labelme", "labelme-polygon", "coco", "yolo", "voc")
COUNT, BATCH = 10, 4


class Noted(annotating.Chance):
    """Notes which images go through it."""

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

        code = annotating.main(self.arguments(*more), make)
        self.seen = made[0].seen if made else None
        return code

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
    """Content of each file, aim of each link."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }
