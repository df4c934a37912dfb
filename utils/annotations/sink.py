"""The sink of every annotation format: what is missing or outdated is written, what a person edited is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Protocol

from utils.annotations.records import Ledger, SharedFiles, State
from utils.distributed import Session
from utils.engine import RunSummary, failure_lines
from utils.errors import SampleError
from utils.formats.base import Exported, Exporter
from utils.io.writers import Writers, safe_path
from utils.structures import Instances, Sample


class AnnotationSink:
    """Writes one format's files.

    Args:
        name: what the lines of `finish` begin with.
        exporter: turns instances into files.
        ledger: knows what is there already, and writes.
        writers: whose threads do all that.
        image_ids: the images of the run, in order, whether they go through or are left out as finished.
        shared: puts together the files that all images share; None for a format without.
        overwrite: replace what a person edited.
        edited: images of which that is known before the run.
    """

    def __init__(
        self,
        name: str,
        exporter: Exporter,
        ledger: Ledger,
        writers: Writers,
        image_ids: Sequence[str],
        *,
        shared: SharedFiles | None = None,
        overwrite: bool = False,
        edited: Iterable[str] = (),
    ) -> None:
        self.name, self.exporter, self.ledger, self.writers, self.image_ids = name, exporter, ledger, writers, image_ids
        self._shared, self._overwrite = shared, overwrite
        self._edited = set() if overwrite else set(edited)
        self._written: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._measures: defaultdict[str, list[float]] = defaultdict(list)
        self._unwritten: list[SampleError] = []
        self._lock = Lock()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hands the image to the writers; only there is decided whether its files are written.

        Raises:
            UserError: the image id leads out of the folder.
            WriterError: an earlier file could not be written.
        """
        path = safe_path(self.ledger.folder, sample.image_id, "")
        self.writers.submit(path, lambda: self._export(sample, instances))

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """Puts the shared files together, in the first process; says what was written and what was left.

        Raises:
            WriterError: a file could not be written.
        """
        self.writers.flush()
        unwritten = session.gather(self._unwritten)  # here each process waits until all have written
        summary.unwritten += unwritten
        failed = {failure.image_id for failure in (*summary.failures, *unwritten)}
        usable = [image_id for image_id in self.image_ids if image_id not in failed]
        left = self._shared.assemble(self.exporter, usable) if self._shared and session.is_main else []
        written, losses = session.sum_counts(self._written), session.sum_counts(self._losses)
        measures: defaultdict[str, list[float]] = defaultdict(list)
        for phrase, numbers in session.gather(list(self._measures.items())):
            measures[phrase] += numbers
        edited = set(session.gather(sorted(self._edited)))
        return [
            *failure_lines(unwritten, self.image_ids),
            *self.summary(written["shapes"], written["images"]),
            *(f"{self.name}: {loss}: {count}" for loss, count in sorted(losses.items())),
            *(f"{self.name}: {phrase}: {_spread(numbers)}" for phrase, numbers in sorted(measures.items())),
            *([f"{self.name}: edited annotations, kept: {len(edited)}"] if edited else []),
            *(f"{self.name}: edited, kept: {path}" for path in left),
        ]

    def summary(self, shapes: int, images: int) -> list[str]:
        """What all processes wrote, for `finish`."""
        return [f"{self.name}: {shapes} shapes in {images} images in {self.ledger.folder}"]

    def _export(self, sample: Sample, instances: Instances) -> None:
        """Writes an image's files unless they are there; called in a thread."""
        state = self.ledger.state(sample.image_id, sample.path)
        if state is State.EDITED and not self._overwrite:
            self._edited.add(sample.image_id)
        elif state is not State.DONE:
            try:
                exported = self.exporter.export(sample, instances)
            except SampleError as error:
                self._unwritten.append(error)
                return
            if self.ledger.write(sample.image_id, sample.path, exported, overwrite=self._overwrite):
                self._count(exported)
            else:
                self._edited.add(sample.image_id)

    def _count(self, exported: Exported) -> None:
        with self._lock:
            self._written.update(images=1, shapes=exported.shapes)
            self._losses.update(exported.losses)
            for phrase, numbers in exported.measures.items():
                self._measures[phrase].extend(numbers)


def _spread(numbers: Sequence[float]) -> str:
    return f"mean {sum(numbers) / len(numbers):.4f}, least {min(numbers):.4f}" if numbers else "none"


class TableSink(AnnotationSink):
    """A sink whose only file is a table; its exporter sums it up."""

    exporter: TableExporter

    def summary(self, shapes: int, images: int) -> list[str]:
        """The exporter's own; empty in the processes that did not put the table together."""
        return [f"{self.name}: {line}" for line in self.exporter.summary()]


class TableExporter(Exporter, Protocol):
    """An exporter that makes one table of all images."""

    def summary(self) -> list[str]:
        """What the table says, in a few lines; known when it is assembled."""


class FrameSink(AnnotationSink):
    """Writes frames; says how many."""

    def summary(self, shapes: int, images: int) -> list[str]:
        """How many frames all processes wrote."""
        return [f"{self.name}: {shapes} images of frames of videos in {self.ledger.folder}"]
