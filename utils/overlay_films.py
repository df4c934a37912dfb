"""Overlays of clips: one film a clip."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from utils.distributed import Session
from utils.engine import Report
from utils.errors import UserError
from utils.film import Film, encodes, frame_rate
from utils.image_files import is_video_name
from utils.outputs import overlay_place
from utils.overlay import OverlaySink
from utils.structures import Instances, Sample
from utils.writers import Writers

MOST_WAITING = 16
"""Frames that may wait for one before them until no more are drawn."""


class FilmSink(OverlaySink):
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
        path = overlay_place(self.save_dir, sample.image_id, self.format)
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
        self.without_target += self.side_by_side and sample.target is None

    def finish(self, report: Report, session: Session) -> list[str]:
        """Completes the last film; says what OverlaySink says, and how many films there are.

        Raises:
            WriterError: a file could not be written.
        """
        self._complete()
        lines = super().finish(report, session)
        return [*lines, f"overlays: {session.sum(np.array([self.films])).item()} films, one a clip"]

    def _complete(self) -> None:
        """Has the film of the last clip completed behind its last frame."""
        film, turn = self._film, self._film.turn()
        self.writers.submit(film.path, lambda: film.complete(turn))
