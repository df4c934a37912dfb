"""Hash what an image's annotation depends on: the same hash, the same annotation.

Not hashed are paths, device, batch size and workers, which change no result noticeably.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from utils.cli.options import Options
from utils.config import ArchConfig, CleanupConfig, DetectorConfig
from utils.engine import RunImages
from utils.files import open_regular
from utils.formats.labelme_reader import LabelmeFiles, labelme_path
from utils.formats.registry import predictions_of
from utils.formats.voc import map_files
from utils.io.image_files import is_video_name
from utils.prompts.prompts import Prompts

VERSION = 3
"""Part of every hash. Increase it when the same instances give other files or images are identified in another way, so
that files of an earlier version are made again."""

LATER_KEYS = {"disjoint": False, "agnostic_nms": False, "slice": None, "overlap": 0.2}
"""Config keys that came after `VERSION`, with their defaults, which leave files of before as they are."""

SAMPLE_BYTES = 4096
"""Length of each block of an image file that is read to identify it."""

NUM_SAMPLES = 8
"""Blocks read besides the last one: uncompressed images (BMP) often share their length and their last block."""

READ_BYTES = 2**20
"""Bytes of a weight file that are read at a time."""

MISSING = b"-"
"""The times of a file that is not there."""

_TIMES = struct.Struct("<QQqq")


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def json_hash(value: Any) -> str:
    """Hash a value of JSON's types; the order of keys does not count."""
    return hash_of(json.dumps(value, sort_keys=True).encode())


def file_hash(path: Path | None) -> str | None:
    """Hash a file's content; return None if there is none or it cannot be read."""
    if path is None:
        return None
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def file_signature(path: Path) -> str:
    """Identify an image file without reading all of it: by its length, its end and samples of the rest.

    Returns:
        a word for each of the three; "" if the file is missing. Earlier versions returned the first two words only.
    """

    def block(start: int) -> bytes:
        file.seek(start)
        return file.read(SAMPLE_BYTES)

    try:
        with open_regular(path) as file:
            length = file.seek(0, 2)
            end = max(0, length - SAMPLE_BYTES)
            samples = b"".join(block(end * part // NUM_SAMPLES) for part in range(NUM_SAMPLES))
            return f"{length} {hash_of(block(end))} {hash_of(samples)}"
    except OSError:
        return ""


def file_times(path: str | os.PathLike[str]) -> bytes:
    """Return what changes whenever a file does, without reading it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return MISSING
    return _TIMES.pack(found.st_ino & (2**64 - 1), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class ImageFingerprint:
    """Hash what the files of one image in one output depend on: the same hash, the same files.

    Attributes:
        exact: hashes contents, given the image's id and its file.
        quick: joins times of files in place of their contents, given the same and, where that is known already,
            `RunFingerprint.times`. It changes whenever `exact` does, but also when a file is only copied.
    """

    exact: Callable[[str, Path], str]
    quick: Callable[[str, str, bytes | None], bytes]


class RunFingerprint:
    """Hash all that the instances of each image of a run depend on, in every format.

    In a clip they depend on every frame, since objects are carried from frame to frame.

    Args:
        options: of the run.
        prompts: the boxes of a prompt file, or None.
        images: of the run; with `--video`, their units are clips.
    """

    def __init__(self, options: Options, prompts: Prompts | None, images: RunImages) -> None:
        self._options, self._prompts, self._run = options, prompts, run_settings(options)
        # Existing annotations belong to one frame each: nothing is carried to other frames.
        clips = images.units if options.video and not options.annotations else ()
        self._clips = [[(images.ids[i], images.paths[i]) for i in clip] for clip in clips]
        self._clip_of = {image_id: number for number, clip in enumerate(self._clips) for image_id, _ in clip}
        self._clip_hash, self._video_signature = cache(self._hash_clip), cache(file_signature)  # once per clip and file
        self._clip_times = cache(self._hash_clip_times)

    def settings(self, name: str, own: Any) -> str:
        """Hash what the files of all images in a format depend on: its name, its own settings and those of the run."""
        return json_hash({"format": name, "version": VERSION, "own": own, "run": self._run})

    def of_images(
        self,
        settings: str,
        extra_hash: Callable[[str], str | None] = lambda image_id: None,
        extra_file: Callable[[str], Path | None] = lambda image_id: None,
    ) -> ImageFingerprint:
        """Make the fingerprint of single images.

        Args:
            settings: the hash that `settings` returned.
            extra_hash: hashes what else the files of an image depend on, given its id.
            extra_file: returns the file in which that is, given the image's id.
        """
        own = settings.encode()

        def exact(image_id: str, image: Path) -> str:
            clip = [self._clip_hash(self._clip_of[image_id])] if image_id in self._clip_of else []
            return json_hash([settings, self.signature(image), self._own(image_id), extra_hash(image_id), *clip])

        def quick(image_id: str, image: str, times: bytes | None = None) -> bytes:
            extra = b"" if (file := extra_file(image_id)) is None else file_times(file)
            return own + (self.times(image_id, image) if times is None else times) + extra

        return ImageFingerprint(exact, quick)

    def times(self, image_id: str, image: str) -> bytes:
        """Join the times of all files that the instances of an image depend on in every format, and its boxes."""
        clip = self._clip_times(self._clip_of[image_id]) if image_id in self._clip_of else b""
        return clip + self._times(image_id, image)

    def _times(self, image_id: str, image: str) -> bytes:
        others = map(file_times, dependency_files(self._options, image_id))
        boxes = b"" if self._prompts is None else self._prompts.content(image_id)
        return b"".join([file_times(image), *others, image.encode("utf-8", "surrogateescape"), boxes])

    def _hash_clip_times(self, number: int) -> bytes:
        return hash_of(b"".join(self._times(image_id, str(path)) for image_id, path in self._clips[number])).encode()

    def signature(self, image: Path) -> str:
        """Identify an image file, or the video file of a frame, as `file_signature` does."""
        return self._video_signature(image) if is_video_name(image.name) else file_signature(image)

    def _own(self, image_id: str) -> list[str | None]:
        """Hash what belongs to this image only: its boxes in a prompt file, or the files that are used instead."""
        boxes = [] if self._prompts is None else [hash_of(self._prompts.content(image_id))]
        return [*boxes, *map(file_hash, dependency_files(self._options, image_id))]

    def _hash_clip(self, number: int) -> str:
        frames = self._clips[number]
        return json_hash([[image_id, self.signature(path), *self._own(image_id)] for image_id, path in frames])


def run_settings(options: Options) -> dict[str, Any]:
    """Collect what the instances of all images of a run depend on: weights by their content, thresholds, classes.

    The boxes of a prompt file are not part of it: each image has its own. `dependency_files` lists what single images
    depend on.
    """
    config = options.config
    class_map = {"class_map": config.dataset.class_map} if config.dataset.class_map else {}
    if options.annotations:
        video = {"video": True} if options.video else {}
        # Only labelme's files are looked up by image, see `dependency_files`.
        content = True if predictions_of(options.annotations) is LabelmeFiles else _tree_hash(options.annotations)
        return {"annotations": content, "classes": config.dataset.classes, **class_map, **video}
    settings: dict[str, Any] = {
        "conf": config.dataset.conf,
        "classes": config.dataset.classes,
        **class_map,
        "sam_weights": file_hash(config.arch.sam_weights),
        "sam_config": _sam_config_hash(config.arch),
        "precision": config.segmenter.precision,
        "cleanup": _keys(config.cleanup),
    }
    if config.segmenter.calibration is not None:
        settings["calibration"] = file_hash(config.segmenter.calibration)
    if config.segmenter.window != "off":
        settings["window"] = config.segmenter.window
    if options.boxes == "target":
        label_map = config.dataset.label_map
        settings["label_map"] = label_map and [[*pair] for pair in sorted(label_map.items())]
    elif not options.prompt:
        settings["detector"] = _keys(config.detector)
    if options.runs_detector or config.dataset.classes is None:
        settings["yolo_weights"] = file_hash(config.arch.yolo_weights)
    if options.video:
        settings["video"] = asdict(config.video)
    return settings


def _keys(section: CleanupConfig | DetectorConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(section).items() if LATER_KEYS.get(key, "") != value}


def dependency_files(options: Options, image_id: str) -> list[Path]:
    """List the files that an image's instances depend on besides it: its annotation, or the masks of its boxes."""
    if options.annotations:
        return [labelme_path(options.annotations, image_id)]
    root = options.config.dataset.data_dir
    if options.boxes != "target" or root is None:
        return []
    return [root / file for file in map_files(image_id)]


def _tree_hash(path: Path) -> str:
    """Hash a file, or all files in a folder and below it."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return json_hash([[each.relative_to(path).as_posix(), file_hash(each)] for each in files])


def _sam_config_hash(arch: ArchConfig) -> str | None:
    """Hash the architecture's file, which may lie in the sam2 package; return its name if none exists."""
    name = arch.sam_architecture
    if name is None:
        return None
    package = importlib.util.find_spec("sam2")  # found, not imported: it is slow to start
    inside = Path(package.origin).parent / name if package and package.origin else Path(name)
    return file_hash(Path(name)) or file_hash(inside) or name
