"""Clips with true objects and tracks that follow them badly: random ones, and those of datasets; no model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from evaluating import Pair

from datasets.voc import VocDataset
from utils.classes import VOID
from utils.evaluation.clip_score import ClipScore
from utils.evaluation.clips import clip_scores
from utils.evaluation.scoring import score_image
from utils.masks import Mask
from utils.objects import instances_of
from utils.structures import Frame, Instances, Sample

DEMO = Path(__file__).parents[1] / "datasets" / "demo"


def random_clip(seed: int, length: int = 9) -> list[Pair]:
    """Ellipses that move, hide and come back, one of which may fill the image, and tracks that lose and swap them."""
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(30, 160, 2).tolist())
    paths = [_path(rng, size, length) for _ in range(int(rng.integers(1, 6)))]
    pairs = []
    for i in range(length):
        labels, objects = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        for number, (centres, axes, label) in enumerate(paths, 1):
            if number == 1 or rng.random() < 0.85:
                shape = _ellipse(size, centres[i], axes)
                labels[shape], objects[shape] = label if rng.random() < 0.9 else 3, 2 * number
        if seed % 3 == 0:
            labels[_ellipse(size, centres[i] + 9, axes % 25)] = VOID
        image = np.broadcast_to(np.uint8(0), (*size, 3))
        frame = Frame(f"clip {seed}", i, length)
        truth = instances_of(labels, objects)
        sample = Sample(f"{frame.clip}/{i}", Path("x.jpg"), image, labels, truth, told_apart=True, frame=frame)
        pairs.append((sample, followed(sample, seed)))
    return pairs


def clip_of(root: Path, folder: str, seed: int) -> list[Pair]:
    """A clip of a VOC tree, badly followed."""
    dataset = VocDataset(root, "val", with_targets=True, with_truth=True)
    places = [i for i, image_id in enumerate(dataset.ids) if image_id.startswith(f"{folder}/")]
    frames = [Frame(folder, index, len(places)) for index in range(len(places))]
    samples = [replace(dataset.load(place), frame=frame) for place, frame in zip(places, frames)]
    return [(sample, followed(sample, seed)) for sample in samples]


def demo_clip() -> list[Pair]:
    """The demo's, badly followed."""
    (folder,) = (DEMO / "ImageSets" / "Segmentation" / "val_videos.txt").read_text().split()
    return clip_of(DEMO, folder, 1)


def followed(sample: Sample, seed: int) -> Instances:
    """The true objects, moved and grown or shrunk, some missed; under ids that are swapped now and then."""
    assert sample.truth is not None and sample.frame is not None
    rng = np.random.default_rng([seed, sample.frame.index])
    numbers = np.arange(len(sample.truth)) if sample.truth.track_ids is None else sample.truth.track_ids
    later = sample.frame.index >= sample.frame.count * 2 // 3
    tracks = 100 - (numbers if not later else numbers[::-1])
    masks = [_distorted(mask, sample.size, rng) for mask in sample.truth.masks]
    class_ids = sample.truth.detections.class_ids.tolist()
    if sample.frame.index % 2:  # a track that is nothing, and the second part of another one
        masks += [Mask.of(_ellipse(sample.size, rng.integers(0, sample.size), rng.integers(3, 12, 2)))] * 2
        tracks, class_ids = np.append(tracks, [7, tracks[0] if len(tracks) else 8]), [*class_ids, 0, 0]
    scores = rng.random((2, len(masks))).round(1)
    found = Instances.of_masks(sample.size, class_ids, masks, *scores, track_ids=tracks)
    return found[rng.random(len(found)) < 0.9]


def score(pairs: Sequence[Pair], num_labels: int = 21) -> ClipScore:
    """What is measured over the clip."""
    scores = [score_image(sample, instances, num_labels)[0].frame for sample, instances in pairs]
    (clip,) = clip_scores([each for each in scores if each is not None])
    return clip


def _path(rng: np.random.Generator, size: Sequence[int], length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Centre in each frame, axes and label."""
    start, step = rng.uniform(0, size), rng.uniform(-4, 4, 2)
    axes = rng.integers(2, 30, 2) if rng.random() < 0.9 else np.array([999, 999])
    return start + step * np.arange(length)[:, None], axes, int(rng.choice([1, 2, 2, 4]))


def _ellipse(size: Sequence[int], centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(H, W) bool; it may reach out of the image."""
    picture = np.zeros(size, np.uint8)
    middle = np.round(centre[::-1]).astype(int).tolist()
    return cv2.ellipse(picture, middle, axes.tolist(), 20, 0, 360, 1, -1).view(bool)


def _distorted(mask: Mask, size: tuple[int, int], rng: np.random.Generator) -> Mask:
    change, side = rng.choice([cv2.erode, cv2.dilate]), int(rng.integers(1, 6))
    changed = change(mask.full(size).astype(np.uint8), np.ones((side, side), np.uint8))
    return Mask.of(np.roll(changed, rng.integers(-2, 3, 2), axis=(0, 1)))
