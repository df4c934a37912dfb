"""What an evaluation keeps of each image, so that it can be compared with others: `per_image_counts.npz`.

The file holds the pixels of each label that occurs in an image, and where there is a report a small picture of target
and prediction. numpy reads it; the pictures are PNG files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from utils.errors import UserError
from utils.io.encoding import encode_image
from utils.io.terminal import counted
from utils.metrics.summary import Evaluation

COUNTS = "per_image_counts.npz"

VERSION = 1

SIDE = 256
"""Maximum of pixels a side of a picture."""

Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class SavedRun:
    """An evaluation that was saved.

    Attributes:
        folder: where it is.
        names: of the L labels, the background first.
        image_ids: of the N images, sorted.
        photos: their image files.
        counts: (N, 2, 3, L) int64: of all pixels, and of those near edges, what `LabelCounts.pixels` holds.
        pictures: PNGs by image id; see `decode_maps`.
    """

    folder: Path
    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    photos: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    pictures: Mapping[str, bytes]


def encode_maps(target: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> bytes:
    """Encode two (H, W) label maps as one small grey PNG, the target above the prediction."""
    scale = min(1, SIDE / max(target.shape))
    size = tuple(max(1, round(side * scale)) for side in target.shape[::-1])
    small = [cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in (target, prediction)]
    return encode_image(np.vstack(small).astype(np.uint8), ".png")


def decode_maps(content: bytes) -> Maps:
    """Return target and prediction, (h, w) uint8 label maps."""
    both = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    target, prediction = np.split(np.asarray(both, np.uint8), 2)
    return target, prediction


def encode_run(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> bytes:
    """Encode the file: the same evaluation gives the same bytes, since `ZipInfo` dates every part 1980.

    Args:
        pictures: of images, by their ids.
    """
    images = evaluation.images
    rows = [np.stack([image.counts.pixels, image.boundary.pixels]) for image in images]
    arrays = {
        "version": np.array(VERSION),
        "names": np.array(evaluation.names, np.str_),
        "image_ids": np.array([image.image_id for image in images], np.str_),
        "photos": np.array([str(image.path) for image in images], np.str_),
        "image": np.repeat(np.arange(len(images)), [len(image.labels) for image in images]),
        "label": np.concatenate([np.zeros(0, np.int64), *(image.labels for image in images)]),
        "counts": np.concatenate([np.zeros((2, 3, 0), np.int64), *rows], axis=2),
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED)
        for i, image in enumerate(images):
            if image.image_id in pictures:
                archive.writestr(zipfile.ZipInfo(f"pictures/{i}.png"), pictures[image.image_id])
    return content.getvalue()


def read_run(folder: Path) -> SavedRun:
    """Read what an evaluation saved, in its folder or, where `-o` named the folder above it, in `evaluation/`.

    A file means its folder: `metrics.json` is an evaluation, too.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    folder = folder.parent if folder.is_file() else folder
    places = [folder / COUNTS, folder / "evaluation" / COUNTS]
    path = next((each for each in places if each.is_file()), None)
    if path is None:
        reason = f"no evaluation here: {COUNTS} is missing, which yolo_sam.py writes; earlier versions did not"
        raise UserError(f"{folder}: {reason}: evaluate again")
    try:
        with np.load(path, allow_pickle=False) as saved:
            names, image_ids = (tuple(saved[key].tolist()) for key in ("names", "image_ids"))
            counts = np.zeros((len(image_ids), 2, 3, len(names)), np.int64)
            counts[saved["image"], :, :, saved["label"]] = np.moveaxis(saved["counts"], 2, 0)
            pictures = {
                image_id: saved[name]
                for i, image_id in enumerate(image_ids)
                if (name := f"pictures/{i}.png") in saved.files
            }
            return SavedRun(path.parent, names, image_ids, tuple(saved["photos"].tolist()), counts, pictures)
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged: {error}; evaluate again") from error


def check_alike(runs: Sequence[SavedRun]) -> None:
    """Raise UserError where runs are over other classes, images or targets than the first one, and say what differs."""
    first = runs[0]
    for run in runs[1:]:
        pair = f"{first.folder} and {run.folder} cannot be compared: "
        if run.names != first.names:
            place = next((i for i, (a, b) in enumerate(zip(first.names, run.names)) if a != b), -1)
            named = f"label {place} is {first.names[place]} and {run.names[place]}" if place >= 0 else ""
            numbers = f"they have {len(first.names) - 1} and {len(run.names) - 1} classes"
            raise UserError(f"{pair}{named or numbers}")
        only = [sorted({*a.image_ids} - {*b.image_ids}) for a, b in ((first, run), (run, first))]
        if any(only):
            texts = [
                f"{counted(len(ids), 'image is', 'images are')} in {each.folder} only, such as {ids[0]}"
                for ids, each in zip(only, (first, run))
                if ids
            ]
            raise UserError(f"{pair}{'; '.join(texts)}")
        differ = (first.counts[:, 0, 2] != run.counts[:, 0, 2]).any(axis=1)
        if differ.any():
            example = first.image_ids[int(np.argmax(differ))]
            raise UserError(f"{pair}the targets of {counted(int(differ.sum()), 'image')} differ, such as {example}")
