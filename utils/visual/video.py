"""Overlays of clips as videos."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from utils.distributed import Session
from utils.engine import RunSummary
from utils.errors import UserError
from utils.io.image_files import is_video_name
from utils.io.writers import Writers, temporary_of
from utils.structures import Instances, Sample
from utils.visual.overlay import OverlaySink, overlay_path

CODEC: Final = "h264"

SETTINGS = {"preset": "veryfast", "crf": "18"}
"""Of x264, which is what encodes as a rule; `crf` is the quality, from 0 (lossless) to 51."""

BT601 = 5
"""FFmpeg's number of the colours that a reader assumes who does not ask for the file's own."""

TV_RANGE = 1
"""FFmpeg's number of what H.264 has unless it says otherwise: 16 is black, 235 white."""


class Film:
    """An mp4 file. It is at its path when it is complete; until then a hidden file beside it grows.

    Frames come from several threads, each with its turn, and wait for those before them. Without a frame there is no
    file.

    Args:
        path: of the file; its folder is made.
        rate: frames a second.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self._rate = path, rate
        self._temporary = temporary_of(path)
        self._encoder: Encoder | None = None
        self._turns = self._taken = 0
        self._ready: dict[int, Callable[[], None]] = {}
        self._lock = Lock()

    def turn(self) -> int:
        """The next place in the line; `add` or `complete` must take it."""
        self._turns += 1
        return self._turns - 1

    @property
    def waiting(self) -> int:
        """How many frames wait for one before them."""
        return len(self._ready)

    def add(self, turn: int, index: int, picture: np.ndarray) -> None:
        """Encode a frame when its turn has come.

        Args:
            index: its number in the clip, which is its time.
            picture: (H, W, 3) uint8 RGB.

        Raises:
            OSError: no space, no permission.
        """
        self._take(turn, partial(self._encode, index, picture))

    def complete(self, turn: int) -> None:
        """Put the film in its place when this turn, the last, has come; OSError as `add`."""
        self._take(turn, self._complete)

    def discard(self) -> None:
        """Remove what there is of a film that was not completed; nothing else may use it any more."""
        if self._encoder is not None:
            with contextlib.suppress(Exception):  # whatever broke it may break it again
                self._encoder.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _take(self, turn: int, step: Callable[[], None]) -> None:
        """Who has the turn also takes the steps that wait behind it."""
        with self._lock:
            self._ready[turn] = step
            while self._taken in self._ready:
                self._ready.pop(self._taken)()
                self._taken += 1

    def _encode(self, index: int, picture: np.ndarray) -> None:
        if self._encoder is None:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            self._encoder = Encoder(self._temporary, self._rate, picture.shape[:2])
        self._encoder.add(index, picture)

    def _complete(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
            os.replace(self._temporary, self.path)
            self._encoder = None


class Encoder:
    """H.264 in an mp4 file, which is whole when it is closed.

    Args:
        path: of the file.
        rate: frames a second.
        size: (height, width) in pixels; an odd one grows by a pixel, since H.264's colours stand for 2 x 2.

    Raises:
        OSError: the file cannot be written, or nothing here encodes such a film.
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]) -> None:
        import av

        self._size = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._file = path.open("wb")  # not av's own: for it a name may be an address
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate, SETTINGS, width=self._size[1], height=self._size[0])
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.colorspace, context.color_range, context.thread_count = BT601, TV_RANGE, 1
        self._tick = 1 / rate

    def add(self, index: int, picture: np.ndarray) -> None:
        """Encode a frame.

        Args:
            index: its number, which is its time; higher than the one before.
            picture: (H, W, 3) uint8 RGB; cut or, by repeating its edge, continued where it has another size.
        """
        import av

        frame = av.VideoFrame.from_ndarray(_fitted(picture, self._size))
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT601)
        frame.pts, frame.time_base = index, self._tick
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode what waits, and complete the file."""
        with self._file, self._container:
            self._container.mux(self._stream.encode(None))


def encodes() -> bool:
    """Whether films can be encoded here; builds of PyAV differ in what they hold."""
    import av.codec

    try:
        return av.codec.Codec(CODEC, "w") is not None
    except ValueError:
        return False


def frame_rate(path: Path) -> Fraction | None:
    """Frames a second of a video file; None where it does not say."""
    import av

    unreadable = contextlib.suppress(av.FFmpegError, OSError)
    # Titles may be in any encoding.
    with unreadable, path.open("rb") as file, av.open(file, metadata_errors="replace") as video:
        stream = video.streams.best("video")
        return (stream and stream.average_rate) or None
    return None


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The (H, W, 3) picture with another (height, width)."""
    cut = picture[: size[0], : size[1]]
    more = [(0, side - length) for side, length in zip(size, cut.shape)]
    return np.ascontiguousarray(np.pad(cut, (*more, (0, 0)), "edge"))


MOST_WAITING = 16
"""Frames that may wait for one before them until no more are drawn."""


class VideoOverlaySink(OverlaySink):
    """Writes `<save_dir>/<clip>.mp4` for each clip of the run.

    Threads draw several frames at a time, which are encoded in their order. A frame that cannot be used is missing:
    the one before it stays for as long, so that the film keeps the clip's time.

    Args:
        save_dir, names, writers, side_by_side, font: as OverlaySink's.
        fps: frames a second of clips that are no video files.

    Raises:
        UserError: nothing here encodes films, or the font cannot be used.
    """

    def __init__(
        self,
        save_dir: Path,
        names: Sequence[str],
        writers: Writers,
        *,
        fps: float = 25.0,
        side_by_side: bool = False,
        font: Path | None = None,
    ) -> None:
        super().__init__(save_dir, names, writers, format="mp4", side_by_side=side_by_side, font=font)
        self.films, self._film, self._rate = 0, Film(save_dir, Fraction(1)), Fraction(fps).limit_denominator(1001)
        if not encodes():
            raise UserError("predictor.format: mp4 needs an H.264 encoder, which PyAV here has not; jpg and png do not")

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hand the frame to the writers; the frames of a clip come one after another.

        Raises:
            UserError: the clip's name leads out of the folder.
            WriterError: an earlier file could not be written.
        """
        assert sample.frame is not None, "the command line refuses films of single images"
        path = overlay_path(self.save_dir, sample.image_id, self.format)
        if self._film.path != path:
            self._complete()
            source = frame_rate(sample.path) if is_video_name(sample.path.name) else None
            self._film = Film(path, source or self._rate)
            self.writers.at_end(self._film.discard)
            self.films += 1
        if self._film.waiting > MOST_WAITING:
            self.writers.flush()
        film, turn, index = self._film, self._film.turn(), sample.frame.index
        self.writers.submit(path, lambda: film.add(turn, index, self.picture(sample, instances)))
        self.files += 1
        self.without_target += self.side_by_side and sample.gt_mask is None

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """Completes the last film; says what OverlaySink says, and how many films there are.

        Raises:
            WriterError: a file could not be written.
        """
        self._complete()
        lines = super().finish(summary, session)
        return [*lines, f"overlays: {session.sum(np.array([self.films])).item()} films, one a clip"]

    def _complete(self) -> None:
        """Has the film of the last clip completed behind its last frame."""
        film, turn = self._film, self._film.turn()
        self.writers.submit(film.path, lambda: film.complete(turn))
