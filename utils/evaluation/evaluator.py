"""The sink that evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.evaluation.comparison import Comparison
from utils.evaluation.console import summary_lines
from utils.evaluation.files import (
    ALL_FILES,
    ATTRIBUTION,
    CALIBRATION,
    COMPARISON,
    METRICS,
    REPORT,
    THRESHOLDS,
    evaluation_files,
)
from utils.evaluation.provenance import Provenance
from utils.evaluation.report.pictures import WorstImages
from utils.evaluation.saved import COUNTS, encode_maps, encode_run
from utils.evaluation.tuning import Tuning, tuning_lines
from utils.io.encoding import encode_json
from utils.io.writers import Writers, atomic_write, remove_files
from utils.metrics.attribution import Attribution, attribution_lines
from utils.metrics.bootstrap import bootstrap
from utils.metrics.calibration import Calibration, calibration_lines
from utils.metrics.scores import Evaluation, ImageScore, score_image
from utils.metrics.segmentation import LabelCounts, mean_iou, pixel_accuracy
from utils.structures import Instances, Sample


class Evaluator:
    """Score each image and, at the end, the whole split.

    Args:
        names: class names, indexed by class id.
        save_dir: where `metrics.json`, the tables and the report go.
        writers: whose threads score.
        worst_images: collects the images of the report; None: there is no report.
        attribution: splits the missing mean IoU between detector and SAM2; samples then carry what SAM2 makes of the
            true boxes. None: nobody asked for it.
        comparison: with annotations; None: nobody asked for it.
        provenance: describes the run; needed in the first process only.
        tuning: chooses score thresholds; None: nobody asked for it.

    Attributes:
        worst_images: collects the images of the report, or None.
        matrix: (classes + 1, classes + 1) int64 confusion matrix of this process's images scored so far, and of the
            images of all processes at the end.
    """

    def __init__(
        self,
        names: Sequence[str],
        save_dir: Path,
        writers: Writers,
        *,
        worst_images: WorstImages | None = None,
        attribution: Attribution | None = None,
        comparison: Comparison | None = None,
        provenance: Provenance | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.matrix = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._names, self._save_dir, self._writers = ("background", *names), save_dir, writers
        self.worst_images, self._attribution, self._comparison = worst_images, attribution, comparison
        self._provenance, self._tuning = provenance, tuning
        self._images: list[ImageScore] = []
        self._pictures: dict[str, bytes] = {}
        self._lock = Lock()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Score one image, which must have a target, in another thread.

        Raises:
            WriterError: an earlier one could not be scored.
        """
        if self._comparison is not None:
            self._comparison.add(sample, instances)
        self._writers.submit(self._save_dir / METRICS, lambda: self._score(sample, instances))

    def _score(self, sample: Sample, instances: Instances) -> None:
        score, matrix = score_image(sample, instances, len(self._names))
        with self._lock:
            self._images.append(score)
            self.matrix += matrix
        if self._attribution is not None:
            assert sample.gt_box_instances is not None, sample.image_id
            self._attribution.add(sample, instances, sample.gt_box_instances)
        if self._tuning is not None:
            self._tuning.add(sample, instances)
        if self.worst_images is not None:
            assert sample.gt_mask is not None, sample.image_id
            self.worst_images.add(score, sample, instances)
            self._pictures[sample.image_id] = encode_maps(sample.gt_mask, instances.to_semantic())

    def running_metrics(self) -> dict[str, float]:
        """Return pixel accuracy and mean IoU of the images scored so far; NaN if there are none."""
        with self._lock:
            counts = LabelCounts.from_matrix(self.matrix)  # a view of the matrix in part
            return {"accuracy": float(pixel_accuracy(counts)), "mIoU": float(mean_iou(counts))}

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Write the files and return the lines to print, the three metric lines last; both in the first process.

        Files of an earlier evaluation that this one does not make are removed: they would contradict its metrics.
        """
        evaluation = self.result(summary, session)
        # Every process takes part in summing up, whether or not it goes on to write.
        panels = None if self.worst_images is None else self.worst_images.collect(session)
        pictures = dict(session.gather([*self._pictures.items()]))
        attribution = None if self._attribution is None else self._attribution.result(session)
        comparison = None if self._comparison is None else self._comparison.result(session)
        tuned = None if self._tuning is None else self._tuning.result(session)
        if evaluation is None:
            return SinkReport([])
        run = None if self._provenance is None else self._provenance.describe()
        files, lines = evaluation_files(evaluation, run, attribution), list[str]()
        files[COUNTS] = encode_run(evaluation, pictures)
        if attribution is not None:
            files[ATTRIBUTION] = encode_json(attribution, indent=2)
            lines += attribution_lines(attribution)
        weights = {} if run is None else {model: file["sha256"] for model, file in run["weights"].items()}
        if calibration := Calibration.fit(evaluation.images, self._names[1:], weights):
            files[CALIBRATION] = encode_json(calibration.content(), indent=2)
            lines += calibration_lines(calibration, self._save_dir / CALIBRATION)
        if tuned:
            files[THRESHOLDS] = encode_json(tuned, indent=2)
            lines += tuning_lines(tuned, self._save_dir / THRESHOLDS)
        if comparison is not None:
            gains, gain_lines = comparison
            files[COMPARISON] = encode_json(gains, indent=2)
            lines += gain_lines
        if self.worst_images is not None and panels is not None:
            from utils.evaluation.report.page import render

            files[REPORT] = render(self.worst_images.title, evaluation, panels, attribution, run, tuned)
            lines.append(f"report: {self._save_dir / REPORT}")
        remove_files(self._save_dir, ALL_FILES.difference(files))
        for name, content in files.items():
            atomic_write(self._save_dir / name, content)
        return SinkReport([*lines, *summary_lines(evaluation)])

    def result(self, summary: RunSummary, session: Session) -> Evaluation | None:
        """Join the scores of the images of all processes; None in all but the first."""
        from utils.metrics.average_precision import average_precision

        self._writers.flush()
        self.matrix, gathered = session.sum(self.matrix), session.gather(self._images)
        if not session.is_main:
            return None
        images = tuple(sorted(gathered, key=lambda image: image.image_id))
        return Evaluation(
            self._names,
            self.matrix,
            images,
            tuple(summary.failures),
            bootstrap(images, len(self._names)),
            average_precision(images, len(self._names) - 1),
        )
