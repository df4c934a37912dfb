"""The ground-truth boxes of a split as a folder that ultralytics can train on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from datasets.voc import VocDataset
from utils.boxes import normalize, xyxy_to_cxcywh
from utils.errors import SampleError
from utils.formats.yolo import ultralytics_reads_same_pixels
from utils.io.encoding import encode_image
from utils.structures import Instances

NAMES_FILE = "names.json"


def write_training_data(splits: Mapping[str, VocDataset], names: Sequence[str], folder: Path) -> list[SampleError]:
    """Write `images/<role>/`, `labels/<role>/` and `names.json` into an empty folder.

    Args:
        splits: by role, `train` and `val`; with ground-truth instances.
        names: class names by class id.

    Returns:
        the images that could not be used.
    """
    (folder / NAMES_FILE).write_text(json.dumps(list(names)), "utf-8")
    failures: list[SampleError] = []
    for role, dataset in splits.items():
        for kind in ("images", "labels"):
            (folder / kind / role).mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            results = pool.map(partial(_write_image, dataset, folder, role), range(len(dataset)))
            failures += [failure for failure in results if failure is not None]
    return failures


def box_lines(instances: Instances) -> str:
    """Format boxes for ultralytics: a line `class_id center_x center_y width height` each, as shares of the image."""
    boxes = xyxy_to_cxcywh(normalize(instances.detections.boxes.astype(np.float64), instances.size))
    rows = zip(instances.detections.class_ids.tolist(), boxes.tolist())
    return "".join(f"{class_id} {' '.join(f'{value:.8f}' for value in box)}\n" for class_id, box in rows)


def _write_image(dataset: VocDataset, folder: Path, role: str, index: int) -> SampleError | None:
    """Write one image with its boxes, or return why it cannot be used."""
    try:
        sample = dataset.load(index)
    except SampleError as error:
        return error
    instances = sample.gt_instances
    assert instances is not None
    target, content = folder / "images" / role / f"{index:08}", sample.path.read_bytes()
    if ultralytics_reads_same_pixels(sample, content):  # no link: ultralytics "restores" JPEGs in place
        target.with_suffix(sample.path.suffix).write_bytes(content)
    else:
        target.with_suffix(".png").write_bytes(encode_image(sample.image, ".png"))
    (folder / "labels" / role / f"{index:08}.txt").write_text(box_lines(instances), "utf-8")
    return None
