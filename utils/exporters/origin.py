"""What decides an image's annotation besides its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from utils.exporters.ledger import Sign
from utils.fingerprint import decisive_files, file_hash, fingerprint, hash_of, image_mark, run_settings
from utils.image_files import is_video_name
from utils.options import Options
from utils.prompts.prompts import Prompts

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
