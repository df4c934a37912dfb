"""Write a native prompt file, row by row, while a run goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.io.terminal import counted
from utils.io.writers import Temporary, WriterError
from utils.structures import Detections, Instances, Sample


class PromptSink:
    """Write the boxes of every image to a file, whole or not at all; `with PromptSink(path) as sink: ...`.

    Rows go to a temporary file beside it, which is moved into place when all images went through, and else removed.

    Args:
        path: the file; its folder is made.

    Raises:
        WriterError: no space, no permission, a file where a folder must be.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.images, self.boxes = path, 0, 0
        with self._failing():
            self._temporary = Temporary(path)
            self._file = self._temporary.path.open("w", encoding="ascii", newline="\n")

    def write(self, sample: Sample, instances: Instances) -> None:
        """Write an image's boxes; WriterError if that fails."""
        rows = rows_of(sample.image_id, instances.detections)
        with self._failing():
            for row in rows:
                self._file.write((",\n" if self.boxes else "[\n") + row)
                self.boxes += 1
        self.images += 1

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Complete the file, move it into place and say what it holds; WriterError if that fails."""
        with self._failing():
            self._file.write("\n]\n" if self.boxes else "[]\n")
            self._file.close()
            self._temporary.complete()
        return SinkReport(
            [f"prompts: {counted(self.boxes, 'box', 'boxes')} of {counted(self.images, 'image')} in {self.path}"]
        )

    def __enter__(self) -> PromptSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.discard()  # after finish there is none

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriterError(self.path, error) from error


def rows_of(image_id: str, detections: Detections) -> list[str]:
    """Return an image's rows as JSON objects in ASCII; reading them gives the same float32 numbers."""
    name = json.dumps(image_id)
    return [
        f'{{"image_id": {name}, "category_id": {class_id}, "bbox": [{", ".join(map(shortest, box))}], '
        f'"score": {shortest(score)}}}'
        for box, score, class_id in zip(detections.boxes, detections.scores, detections.class_ids)
    ]


def shortest(number: np.float32) -> str:
    """Return the shortest decimal that is read as this number, by way of float64, as JSON parsers do it."""
    text = str(number)
    return text if np.float32(float(text)) == number else repr(float(number))
