"""Images with true and found instances: random ones, and real ones whose true masks are distorted."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from datasets.voc import VocDataset
from utils.classes import VOID
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.scores import score_image
from utils.metrics.summary import Evaluation
from utils.structures import Instances, Sample

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the test photographs are not here")

Pair = tuple[Sample, Instances]

NAMES = ("car", "dog", "nowhere", "bird", "only found", "only true")
"""Of the random images' classes."""


def random_pairs(count: int) -> list[Pair]:
    """Images of many sizes, with void, with no, few and many objects; one is void throughout."""
    return [_random_pair(seed) for seed in range(count)]


@lru_cache
def photos(name: str) -> list[Pair]:
    """A shared folder's images and what is found in them: true masks moved, grown or missed."""
    dataset = VocDataset(SHARED / name, "val", with_gt_masks=True, with_gt_instances=True)
    loaded = map(dataset.load, range(len(dataset)))
    # The pixels of the photographs are not kept, only their size.
    samples = [replace(sample, image=np.broadcast_to(np.uint8(0), sample.image.shape)) for sample in loaded]
    return [(sample, distorted(sample, seed)) for seed, sample in enumerate(samples)]


def distorted(sample: Sample, seed: int) -> Instances:
    """The true instances, one in eight missed, the others moved and grown or shrunk; scores have ties."""
    assert sample.gt_instances is not None
    rng, masks, class_ids = np.random.default_rng(seed), [], []
    for mask, class_id in zip(sample.gt_instances.masks, sample.gt_instances.detections.class_ids.tolist()):
        if rng.random() < 1 / 8:
            continue
        full = mask.to_full(sample.size).astype(np.uint8)
        change, side = rng.choice([cv2.erode, cv2.dilate]), int(rng.integers(1, 9))
        changed = change(full, np.ones((side, side), np.uint8))
        masks.append(Mask.from_array(np.roll(changed, rng.integers(-4, 5, 2), axis=(0, 1))))
        class_ids.append(class_id)
    return _scored(sample.size, class_ids, masks, rng)


def evaluation_of(pairs: Sequence[Pair], names: Sequence[str]) -> Evaluation:
    """What the sink makes of them."""
    scored = [score_image(sample, instances, len(names) + 1) for sample, instances in pairs]
    images = tuple(score for score, _ in scored)
    matrix = np.sum([matrix for _, matrix in scored], axis=0)
    return Evaluation(("background", *names), matrix, images, ())


def with_values(evaluation: Evaluation, **values: object) -> Evaluation:
    """The evaluation with other values in place of those that it would compute."""
    changed = replace(evaluation)
    vars(changed).update(values)
    return changed


def provenance(title: str = "made up") -> SimpleNamespace:
    """What describes a run."""
    run = {
        "command": "python yolo_sam.py",
        "date": "2026-11-28T14:20:31+00:00",
        "seconds": 1.5,
        "data": {"data_dir": "data", "split": "val"},
        "prompt_file": None,
        "annotations": None,
        "weights": {},
        "device": "cpu, fp32",
        "processes": 1,
        "versions": {"python": "3.11"},
        "config": {"name": title},
    }
    return SimpleNamespace(describe=lambda: run)


def without_run(name: str, content: bytes) -> bytes:
    """A file of an evaluation without what differs from run to run: command, date, seconds, where images lie."""
    if name.endswith("metrics.json"):
        written = json.loads(content)
        assert written.pop("run")["date"]
        return json.dumps(written).encode()
    if name.endswith("report.html"):
        page, count = re.subn(rb'<footer id="run".*?</footer>', b"", content, flags=re.DOTALL)
        assert count == 1
        return page
    if name.endswith("per_image_counts.npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # "photos" are the paths of the images
            return b"".join(archive.read(part) for part in archive.namelist() if part != "photos.npy")
    return content


def _random_pair(seed: int) -> Pair:
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(20, 90, 2).tolist())
    labels, objects = np.zeros(size, np.uint8), np.zeros(size, np.uint16)
    for number in range(1, 1 + (0 if seed % 7 == 1 else int(rng.integers(1, 9)))):
        shape = _blob(rng, size)
        labels[shape], objects[shape] = rng.choice([1, 1, 2, 4, 6]), number
    labels[_blob(rng, size)] = labels[rng.random(size) < 0.02] = VOID
    if seed == 3:
        labels[:] = VOID
    truth = instances_of(labels, objects)
    image = np.zeros((*size, 3), np.uint8)
    sample = Sample(f"image {seed:04}", Path(f"{seed}.jpg"), image, labels, truth, has_instance_ids=True)
    again = distorted(sample, seed)
    extra = [_blob(rng, size) for _ in range(int(rng.integers(4)))]
    empty = [np.zeros(size, bool)] * int(seed % 5 == 2)
    masks = [] if seed % 6 == 5 else [*again.masks, *map(Mask.from_array, [*extra, *empty])]
    class_ids = [*again.detections.class_ids, *rng.choice([0, 1, 3, 4], len(extra) + len(empty))]
    return sample, _scored(size, class_ids[: len(masks)], masks, rng)


def _blob(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: an ellipse that may reach out of the image."""
    picture = np.zeros(size, np.uint8)
    centre, axes = rng.integers(0, size[::-1]), rng.integers(2, 20, 2)
    return cv2.ellipse(picture, centre.tolist(), axes.tolist(), float(rng.integers(180)), 0, 360, 1, -1).view(bool)


def _scored(
    size: tuple[int, int], class_ids: Sequence[int], masks: Sequence[Mask], rng: np.random.Generator
) -> Instances:
    scores, mask_scores = rng.random((2, len(masks))).round(1)
    return Instances.from_masks(size, class_ids, masks, scores, mask_scores)
