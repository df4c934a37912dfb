from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.formats.base import Exported, Exporter
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

Pair = tuple[Sample, Instances]
Write = Callable[..., list[Exported]]


@pytest.fixture
def scene(tmp_path: Path) -> Pair:
    """An image of 60 x 40 with masks of every kind: a ring with an island, two parts, overlaps, one pixel, none."""
    size, masks = (40, 60), np.zeros((7, 40, 60), bool)
    masks[0, 5:25, 5:25] = True
    masks[0, 8:20, 8:20] = False
    masks[0, 12:16, 12:16] = True
    masks[1, 2:9, 30:41] = masks[1, 20:33, 44:58] = True
    masks[2, 15:35, 15:35] = True
    masks[3, 39, 59] = True
    masks[5, 0, 0:7] = True
    masks[6] = np.random.default_rng(0).random(size) < 0.3
    rng = np.random.default_rng(1)
    detections = Detections.from_arrays(np.tile((1, 2, 30, 20), (7, 1)), rng.random(7), [0, 1, 2, 0, 1, 2, 0])
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(image).save(path)
    scores = rng.random(7).astype(np.float32)
    scores[2] = np.nan  # a person drew it
    return Sample("clip/a", path, image), Instances(size, detections, [Mask.from_array(mask) for mask in masks], scores)


@pytest.fixture
def write() -> Write:
    """Writes what an exporter makes of some images, as a run does: records pass through JSON."""

    def write(exporter: Exporter, folder: Path, pairs: Sequence[Pair]) -> list[Exported]:
        made = [exporter.export(*pair) for pair in pairs]
        records = [
            (sample.image_id, {**json.loads(json.dumps(one.record)), "files": [*one.files, *one.links]})
            for (sample, _), one in zip(pairs, made)
        ]
        for files in [*(one.files for one in made), exporter.assemble(iter(records))]:
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        for name, source in (link for one in made for link in one.links.items()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(source)
        return made

    return write
