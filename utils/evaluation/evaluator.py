"""The sink that evaluates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.console import summary_lines
from utils.evaluation.files import EVERY, METRICS, REPORT, evaluation_files
from utils.evaluation.report.pictures import WorstImages
from utils.io.writers import Writers, atomic_write, remove_files
from utils.metrics.bootstrap import bootstrap
from utils.metrics.scores import Evaluation, ImageScore, score_image
from utils.metrics.segmentation import LabelCounts, mean_iou, pixel_accuracy
from utils.structures import Instances, Sample

if TYPE_CHECKING:
    from utils.evaluation.report.tables import Section


class Evaluator:
    """Scores each image and, at the end, the whole split.

    Args:
        names: class names, indexed by class id.
        save_dir: where `metrics.json`, the tables and the report go.
        writers: whose threads score.
        album: collects the pictures of the report; None: there is no report.
        sections: what others add to the report; called when all images of all processes went through.
        beside: the files that others of this run write there.

    Attributes:
        matrix: (classes + 1, classes + 1) int64 confusion matrix of this process's images scored so far.
    """

    def __init__(
        self,
        names: Sequence[str],
        save_dir: Path,
        writers: Writers,
        album: WorstImages | None = None,
        sections: Callable[[], Sequence[Section]] = tuple,
        beside: Collection[str] = (),
    ) -> None:
        self.matrix = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._names, self._save_dir, self._writers = ("background", *names), save_dir, writers
        self._album, self._sections, self._beside = album, sections, beside
        self._images: list[ImageScore] = []
        self._lock = Lock()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Has one image scored, which must have a target.

        Raises:
            WriterError: an earlier one could not be scored.
        """
        self._writers.submit(self._save_dir / METRICS, lambda: self._score(sample, instances))

    def _score(self, sample: Sample, instances: Instances) -> None:
        score, matrix = score_image(sample, instances, len(self._names))
        with self._lock:
            self._images.append(score)
            self.matrix += matrix
        if self._album is not None:
            self._album.add(score, sample, instances)

    def running_metrics(self) -> dict[str, float]:
        """Pixel accuracy and mean IoU of the images scored so far."""
        with self._lock:
            counts = LabelCounts.from_matrix(self.matrix)  # a view of the matrix in part
            return {"accuracy": float(pixel_accuracy(counts)), "mIoU": float(mean_iou(counts))}

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """Writes the files and returns the lines to print, the three metric lines last; both in the first process.

        Files of an earlier evaluation that this one does not make are removed: they would contradict its metrics.
        """
        evaluation = self.result(summary, session)
        pictures = self._album.collect(session) if self._album is not None else []
        if evaluation is None:
            return []
        files, lines = evaluation_files(evaluation), summary_lines(evaluation)
        if self._album is not None:
            from utils.evaluation.report.page import render
            from utils.evaluation.report.tables import clip_sections

            sections = [*clip_sections(evaluation.clips), *self._sections()]
            files[REPORT] = render(self._album.title, evaluation, pictures, sections)
            lines.insert(0, f"report: {self._save_dir / REPORT}")
        remove_files(self._save_dir, EVERY.difference(files, self._beside))
        for name, content in files.items():
            atomic_write(self._save_dir / name, content)
        return lines

    def result(self, summary: RunSummary, session: Session) -> Evaluation | None:
        """The evaluation of the images of all processes; None in all but the first."""
        from utils.metrics.average_precision import average_precision

        self._writers.flush()
        matrix, gathered = session.sum(self.matrix), session.gather(self._images)
        if not session.is_main:
            return None
        images = tuple(sorted(gathered, key=lambda image: image.image_id))
        return Evaluation(
            self._names,
            matrix,
            images,
            tuple(summary.failures),
            bootstrap(images, len(self._names)),
            average_precision(images, len(self._names) - 1),
        )
