"""Clips for tests: made of plain frames, painted, and followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from datasets.voc import VocDataset
from tests.helpers.evaluate import Pair
from utils.classes import VOID
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.clips import ClipScore, clip_scores
from utils.metrics.scores import score_image
from utils.structures import Detections, Frame, Instances, Sample

GROUND = (40, 90, 160)

SIZE = (192, 256)


def sample(clip: str, index: int, count: int, path: Path = Path("none.jpg"), size: tuple[int, int] = SIZE) -> Sample:
    """A plain frame with a white strip whose length tells its number."""
    image = np.full((*size, 3), GROUND, np.uint8)
    image[-8:, : 4 * (index + 1)] = 255
    return Sample(f"{clip}/{index:06}", path, image, frame=Frame(clip, index, count))


def instances(index: int, tracks: Sequence[int], class_ids: Sequence[int], size: tuple[int, int] = SIZE) -> Instances:
    """A square a track, up to 30 below each other; all move to the right by 2 pixels a frame, 40 times."""
    corners = [(8 + 2 * (index % 40) + 90 * (i // 30), 24 + 44 * (i % 30)) for i in range(len(tracks))]
    boxes = [(x, y, x + 32, y + 32) for x, y in corners]
    masks = [Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes]
    detections = Detections.from_arrays(boxes, np.full(len(boxes), 0.5), class_ids)
    return Instances(size, detections, masks, np.full(len(boxes), 0.75, np.float32), np.asarray(tracks, np.int64))


def clip(
    name: str, count: int, tracks: Sequence[int] = (1, 2), class_ids: Sequence[int] = (0, 0), path: Path = Path("a.jpg")
) -> Iterator[tuple[Sample, Instances]]:
    """All frames of a clip, with the same tracks in each."""
    for index in range(count):
        yield sample(name, index, count, path), instances(index, tracks, class_ids)


FASTSTART = {"movflags": "faststart"}
"""Puts the index of an mp4 before its frames, so that a file that is cut off can be opened."""


def painted(index: int, height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8, smooth, without symmetry and another one for each of the first 33 indices."""
    rows, columns = np.mgrid[:height, :width]
    channels = [40 + columns * 3, 30 + rows * 4 + columns, np.full_like(rows, 20 + 7 * index)]
    return np.stack(channels, axis=2).astype(np.uint8)


def index_of(image: np.ndarray) -> int:
    """Which painted frame this is, after lossy coding."""
    return round((float(image[..., 2].mean()) - 20) / 7)


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str = "libx264rgb",
    pix_fmt: str = "rgb24",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Writes frames, without loss by default; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as output:
        output.metadata["title"] = title
        stream: Any = None
        for image in images:
            if stream is None:
                stream = output.add_stream(codec, rate=10, options={"qp": "0"} if options is None else options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    return path


def write_frames(folder: Path, indices: Iterable[int], name: str = "{}.png", **size: int) -> Path:
    """Writes painted frames as pictures; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        Image.fromarray(painted(index, **size)).save(folder / name.format(index))
    return folder


DEMO = Path(__file__).parents[2] / "datasets" / "demo"


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
        sample = Sample(f"{frame.clip}/{i}", Path("x.jpg"), image, labels, truth, has_instance_ids=True, frame=frame)
        pairs.append((sample, followed(sample, seed)))
    return pairs


def clip_of(root: Path, folder: str, seed: int) -> list[Pair]:
    """A clip of a VOC tree, badly followed."""
    dataset = VocDataset(root, "val", with_gt_masks=True, with_gt_instances=True)
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
    assert sample.gt_instances is not None and sample.frame is not None
    rng = np.random.default_rng([seed, sample.frame.index])
    numbers = (
        np.arange(len(sample.gt_instances)) if sample.gt_instances.track_ids is None else sample.gt_instances.track_ids
    )
    later = sample.frame.index >= sample.frame.count * 2 // 3
    tracks = 100 - (numbers if not later else numbers[::-1])
    masks = [_distorted(mask, sample.size, rng) for mask in sample.gt_instances.masks]
    class_ids = sample.gt_instances.detections.class_ids.tolist()
    if sample.frame.index % 2:  # a track that is nothing, and the second part of another one
        masks += [Mask.from_array(_ellipse(sample.size, rng.integers(0, sample.size), rng.integers(3, 12, 2)))] * 2
        tracks, class_ids = np.append(tracks, [7, tracks[0] if len(tracks) else 8]), [*class_ids, 0, 0]
    scores = rng.random((2, len(masks))).round(1)
    found = Instances.from_masks(sample.size, class_ids, masks, *scores, track_ids=tracks)
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
    changed = change(mask.to_full(size).astype(np.uint8), np.ones((side, side), np.uint8))
    return Mask.from_array(np.roll(changed, rng.integers(-2, 3, 2), axis=(0, 1)))
