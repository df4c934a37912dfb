"""What decides an image's annotation, as a hash: same hash, same annotation.

Left out is what changes no result worth speaking of: paths, device, batch size, workers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from utils.cli.options import Options
from utils.config import ArchConfig
from utils.formats.voc import map_files
from utils.io.image_files import is_video_name
from utils.prompts.prompts import Prompts

TAIL = 4096
"""Bytes at the end of an image file that tell it from another one of the same length."""

PARTS = 8
"""How many more blocks of so many bytes do, at even distances from the start on: without compression, as in BMP, other
scenes have the same length and often the same end."""

BLOCK = 2**20
"""Bytes of a weight file that are read at a time."""


def hash_of(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def fingerprint(settings: Any) -> str:
    """One hash of a value of JSON's types; the order of keys does not count."""
    return hash_of(json.dumps(settings, sort_keys=True).encode())


def run_settings(options: Options) -> dict[str, Any]:
    """What decides the instances of all images of a run: weights by their content, thresholds, classes.

    The boxes of a prompt file are an image's own, so they are none of it; `decisive_files` has what else decides those
    of single images.
    """
    config = options.config
    if options.annotations:
        video = {"video": True} if options.video else {}
        return {"annotations": True, "classes": config.dataset.classes, **video}
    settings: dict[str, Any] = {
        "conf": config.dataset.conf,
        "classes": config.dataset.classes,
        "sam_weights": _weights(config.arch.sam_weights),
        "sam_config": _sam_config(config.arch),
        "precision": config.segmenter.precision,
        "cleanup": asdict(config.cleanup),
    }
    if options.boxes == "target":
        settings["label_map"] = config.dataset.label_map and [
            [*pair] for pair in sorted(config.dataset.label_map.items())
        ]
    elif not options.prompt:
        settings["detector"] = asdict(config.detector)
    if options.runs_detector or config.dataset.classes is None:
        settings["yolo_weights"] = _weights(config.arch.yolo_weights)
    if options.video:
        settings["video"] = asdict(config.video)
    return settings


def decisive_files(options: Options, image_id: str) -> list[Path]:
    """The files beside the image that decide its instances: its annotation, or the masks that its boxes come from."""
    if options.annotations:
        return [options.annotations / f"{image_id}.json"]
    root = options.config.dataset.data_dir
    if options.boxes != "target" or root is None:
        return []
    return [root / file for file in map_files(image_id)]


def image_mark(path: Path) -> str:
    """What tells an image file from another one under the same name: its length, its end and samples of the rest.

    Returns:
        a word for each; empty if the file is missing. Earlier versions gave the first two words alone.
    """

    def block(start: int) -> bytes:
        file.seek(start)
        return file.read(TAIL)

    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            end = max(0, length - TAIL)
            samples = b"".join(block(end * part // PARTS) for part in range(PARTS))
            return f"{length} {hash_of(block(end))} {hash_of(samples)}"
    except OSError:
        return ""


def file_hash(path: Path) -> str | None:
    """The hash of a file's content, or None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def _weights(path: Path | None) -> str | None:
    """The hash of a weight file, or None if there is none."""
    return None if path is None else file_hash(path)


def _sam_config(arch: ArchConfig) -> str | None:
    """The hash of the architecture's file, which may lie in the sam2 package; its name if it is nowhere."""
    name = arch.sam_architecture
    if name is None:
        return None
    package = importlib.util.find_spec("sam2")  # found, not imported: it is slow to start
    inside = Path(package.origin).parent / name if package and package.origin else Path(name)
    return file_hash(Path(name)) or file_hash(inside) or name


Sign = Callable[[str, Path], str]
"""The hash of everything that decides an image's annotation, from its id and its file."""

VERSION = 3
"""Raised when the same instances give other files, or images are told apart otherwise, so that files of an earlier
version are made again."""

Clip = Sequence[tuple[str, Path]]
"""Id and file of each frame of a clip."""


class Origin:
    """What decides the instances of an image, in every format.

    In a clip that is what decides those of every frame, since objects are carried from frame to frame.

    Args:
        run: that of all images, in JSON's types.
        prompts: the boxes of a prompt file, or None.
        files: the files beside an image that decide its instances, by its id.
        clips: the clips through which objects are followed.
    """

    def __init__(
        self,
        run: Mapping[str, Any],
        prompts: Prompts | None,
        files: Callable[[str], Sequence[Path]],
        clips: Sequence[Clip] = (),
    ) -> None:
        self._run, self._prompts, self._files = run, prompts, files
        self._clip_of = {image_id: number for number, clip in enumerate(clips) for image_id, _ in clip}
        self._clips = clips
        self._clip_mark, self._video_mark = cache(self._mark_clip), cache(image_mark)  # once a clip, once a file

    def settings(self, name: str, own: Mapping[str, Any]) -> str:
        """The hash of what decides all images' files of a format: its name, its own settings and those of the run."""
        return fingerprint({"format": name, "version": VERSION, "own": own, "run": self._run})

    def signer(self, settings: str, mark: Callable[[str], str | None] = lambda image_id: None) -> Sign:
        """What signs an image: the hash of the settings, the image's file and boxes, and what else there is of it."""
        return lambda image_id, image: fingerprint(
            [settings, self.mark(image), self._own(image_id), mark(image_id), *self._clip_marks(image_id)]
        )

    def mark(self, image: Path) -> str:
        """What tells an image file, or the video file of a frame, from another one; see `image_mark`."""
        return self._video_mark(image) if is_video_name(image.name) else image_mark(image)

    def _own(self, image_id: str) -> list[str | None]:
        """The hashes of what the image alone has: its boxes in a prompt file, or files that take their place."""
        boxes = [] if self._prompts is None else [hash_of(self._prompts.content(image_id))]
        return [*boxes, *map(file_hash, self._files(image_id))]

    def _clip_marks(self, image_id: str) -> list[str]:
        """The hash of the image's clip, if it is in one."""
        return [self._clip_mark(self._clip_of[image_id])] if image_id in self._clip_of else []

    def _mark_clip(self, number: int) -> str:
        return fingerprint(
            [[image_id, self.mark(path), *self._own(image_id)] for image_id, path in self._clips[number]]
        )


def origin_of(options: Options, prompts: Prompts | None, clips: Sequence[Clip]) -> Origin:
    """What decides the instances of a run.

    Args:
        prompts: the boxes of a prompt file, or None.
        clips: those of the run; empty without `--video`.
    """
    # What stands in annotations is carried to no other frame.
    carried = [] if options.annotations else clips
    return Origin(run_settings(options), prompts, lambda image_id: decisive_files(options, image_id), carried)
