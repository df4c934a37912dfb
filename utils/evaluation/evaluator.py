"""The sink that evaluates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.console import summary_lines
from utils.evaluation.files import ATTRIBUTION, EVERY, METRICS, REPORT, evaluation_files
from utils.evaluation.report.pictures import WorstImages
from utils.evaluation.report.tables import attribution_section, clip_sections
from utils.io.encoding import encode_json
from utils.io.writers import Writers, atomic_write, remove
from utils.metrics.attribution import Attribution, table
from utils.metrics.bootstrap import bootstrap
from utils.metrics.scores import Evaluation, ImageScore, score_image
from utils.metrics.segmentation import LabelCounts, mean_iou, pixel_accuracy
from utils.structures import Instances, Sample


class Evaluator:
    """Scores each image and, at the end, the whole split.

    Args:
        names: class names, indexed by class id.
        save_dir: where `metrics.json`, the tables and the report go.
        writers: whose threads score.
        album: collects the pictures of the report; None: there is no report.
        attribution: splits the missing mean IoU between detector and SAM2, or None; samples then carry what SAM2 makes
            of the true boxes.
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
        attribution: Attribution | None = None,
        beside: Collection[str] = (),
    ) -> None:
        self.matrix = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._names, self._save_dir, self._writers = ("background", *names), save_dir, writers
        self._album, self._attribution, self._beside = album, attribution, beside
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
        if self._attribution is not None:
            assert sample.gt_mask is not None and sample.gt_box_instances is not None, sample.image_id
            self._attribution.add(sample.gt_mask, instances, sample.gt_box_instances)
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
        attributed = None if self._attribution is None else self._attribution.result(session)
        if evaluation is None:
            return []
        files, lines, sections = (
            evaluation_files(evaluation),
            summary_lines(evaluation),
            [*clip_sections(evaluation.clips)],
        )
        if attributed is not None:
            files[ATTRIBUTION] = encode_json(attributed, indent=2)
            lines = [*table(attributed), *lines]
            sections.append(attribution_section(attributed))
        if self._album is not None:
            from utils.evaluation.report.page import render

            files[REPORT] = render(self._album.title, evaluation, pictures, sections)
            lines.insert(0, f"report: {self._save_dir / REPORT}")
        remove(self._save_dir, EVERY.difference(files, self._beside))
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
