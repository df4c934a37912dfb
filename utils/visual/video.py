"""Overlays of clips as H.264 videos."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt

from utils.cli.outputs import overlay_path
from utils.config import PredictorConfig
from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.errors import UserError
from utils.io.image_files import is_video_name
from utils.io.terminal import counted
from utils.io.writers import Temporary, Writers
from utils.structures import Instances, Sample
from utils.visual.overlay import OverlaySink, render

CODEC: Final = "h264"

SETTINGS = {"preset": "veryfast", "crf": "18"}
"""Options of x264, FFmpeg's usual encoder; `crf` is the quality, from 0 (lossless) to 51."""

BT601 = 5
"""FFmpeg's number of the color space that readers assume if they ignore that of the file."""

TV_RANGE = 1
"""FFmpeg's number of H.264's default range: 16 is black, 235 white."""

MAX_WAITING = 16
"""Frames that may wait for an earlier one before drawing pauses."""


class OrderedVideoWriter:
    """Writes an mp4 file from several threads, frames in order of their tickets.

    The file is at its path when it is complete; until then a hidden file beside it grows. Without frames there is no
    file.

    Args:
        path: of the file; its folder is created.
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self._rate = path, rate
        self._temporary: Temporary | None = None
        self._encoder: Encoder | None = None
        self._tickets = self._done = 0
        self._ready: dict[int, Callable[[], None]] = {}
        self._lock = Lock()

    def ticket(self) -> int:
        """Draw the next ticket, which must be used for `add` or `complete`."""
        self._tickets += 1
        return self._tickets - 1

    @property
    def waiting(self) -> int:
        """Return the number of frames that wait for an earlier one."""
        return len(self._ready)

    def add(self, ticket: int, index: int, image: npt.NDArray[np.uint8]) -> None:
        """Encode a (H, W, 3) RGB frame after those of all earlier tickets; OSError if it cannot be written.

        Args:
            index: position of the frame in the clip, which is its time.
        """
        self._run_in_order(ticket, partial(self._encode, index, image))

    def complete(self, ticket: int) -> None:
        """Move the complete file to its path; the ticket must be the last one. OSError as `add`."""
        self._run_in_order(ticket, self._complete)

    def discard(self) -> None:
        """Remove an incomplete file; no other thread may use the writer any more."""
        if self._encoder is not None:
            with contextlib.suppress(Exception):  # closing may fail for the reason that broke the video
                self._encoder.close()
        if self._temporary is not None:
            self._temporary.discard()

    def _run_in_order(self, ticket: int, step: Callable[[], None]) -> None:
        """Run a step when its ticket is next, then all waiting successors; otherwise leave it waiting."""
        with self._lock:
            self._ready[ticket] = step
            while self._done in self._ready:
                self._ready.pop(self._done)()
                self._done += 1

    def _encode(self, index: int, image: np.ndarray) -> None:
        if self._encoder is None:
            self._temporary = Temporary(self.path)
            self._encoder = Encoder(self._temporary.path, self._rate, image.shape[:2])
        self._encoder.add(index, image)

    def _complete(self) -> None:
        if self._encoder is not None and self._temporary is not None:
            self._encoder.close()
            self._temporary.complete()
            self._encoder = self._temporary = None


class Encoder:
    """Encodes H.264 into an mp4 file, which is complete when it is closed.

    Args:
        path: of the file.
        rate: frames per second.
        size: (height, width) in pixels; an odd side grows by a pixel, since H.264 shares colors among 2 x 2 pixels.

    Raises:
        OSError: the file cannot be written, or there is no encoder.
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]) -> None:
        import av

        self._size = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._file = path.open("wb")  # av itself would take some names for addresses
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate, SETTINGS, width=self._size[1], height=self._size[0])
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.colorspace, context.color_range, context.thread_count = BT601, TV_RANGE, 1
        self._tick = 1 / rate

    def add(self, index: int, image: npt.NDArray[np.uint8]) -> None:
        """Encode a frame.

        Args:
            index: its number, which is its time; higher than the one before.
            image: (H, W, 3) RGB; cropped or padded with its edge to the size of the video.
        """
        import av

        cropped = image[: self._size[0], : self._size[1]]
        padding = [(0, side - length) for side, length in zip(self._size, cropped.shape)]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(cropped, (*padding, (0, 0)), "edge")))
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT601, threads=1)
        frame.pts, frame.time_base = index, self._tick
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode delayed frames, and complete the file."""
        with self._file, self._container:
            self._container.mux(self._stream.encode(None))


def has_encoder() -> bool:
    """Tell whether this build of PyAV contains an H.264 encoder."""
    import av.codec

    try:
        return av.codec.Codec(CODEC, "w") is not None
    except ValueError:
        return False


def frame_rate(path: Path) -> Fraction | None:
    """Read the frames per second of a video file; None if it does not contain them or cannot be read."""
    import av

    unreadable = contextlib.suppress(av.FFmpegError, OSError)
    # metadata_errors: titles may be in any encoding.
    with unreadable, path.open("rb") as file, av.open(file, metadata_errors="replace") as video:
        stream = video.streams.best("video")
        return (stream and stream.average_rate) or None
    return None


class VideoOverlaySink(OverlaySink):
    """Writes `<save_dir>/<clip>.mp4` for each clip of the run.

    Threads draw several frames at a time, which are encoded in order. A frame that cannot be used is left out; the one
    before it is shown longer, so the video keeps the clip's time.

    Args:
        config, names, writers, prune: see OverlaySink; clips that are no video files have `config.fps`.

    Raises:
        UserError: there is no encoder, or the font cannot be used.
    """

    def __init__(self, config: PredictorConfig, names: Sequence[str], writers: Writers, *, prune: bool = False) -> None:
        super().__init__(config, names, writers, prune=prune)
        self._rate = Fraction(config.fps).limit_denominator(1001)
        self._video: OrderedVideoWriter | None = None
        if not has_encoder():
            raise UserError("predictor.format: mp4 needs an H.264 encoder, which PyAV lacks here; use jpg or png")

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hand the frame to the writers, see OverlaySink; the frames of a clip come one after another."""
        assert sample.frame is not None, "the command line refuses videos of single images"
        path = overlay_path(self.config.save_dir, sample.image_id, self.config.format)
        if self._video is None or self._video.path != path:
            self._complete()
            source = frame_rate(sample.path) if is_video_name(sample.path.name) else None
            self._video = OrderedVideoWriter(path, source or self._rate)
            self.writers.at_end(self._video.discard)
        if self._video.waiting > MAX_WAITING:
            self.writers.flush()
        video, ticket, index = self._video, self._video.ticket(), sample.frame.index
        self.writers.submit(path, lambda: video.add(ticket, index, render(sample, instances, self.names, self.config)))
        self._count(sample)

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Complete the last video; return the lines of OverlaySink and the number of videos."""
        self._complete()
        report = super().finish(summary, session)
        videos = session.sum(np.array([len(self._made)])).item()
        return replace(report, lines=[*report.lines, f"overlays: {counted(videos, 'video')}, one per clip"])

    def _complete(self) -> None:
        """Complete the current video, if there is one, after its last frame."""
        if (video := self._video) is not None:
            ticket = video.ticket()
            self.writers.submit(video.path, lambda: video.complete(ticket))
