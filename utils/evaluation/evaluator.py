"""The sink that evaluates a run, and the comparison of a run with existing annotations (`--diff`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from utils.annotations.source import AnnotationFolder
from utils.class_map import ClassMap
from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.errors import SampleError
from utils.evaluation.console import summary_lines
from utils.evaluation.files import (
    ALL_FILES,
    ATTRIBUTION,
    CALIBRATION,
    COMPARISON,
    METRICS,
    REPORT,
    THRESHOLDS,
    Provenance,
    evaluation_files,
)
from utils.evaluation.report.pictures import WorstImages
from utils.evaluation.saved import COUNTS, encode_maps, encode_run
from utils.evaluation.tuning import Tuning, tuning_lines
from utils.io.encoding import encode_json
from utils.io.terminal import counted
from utils.io.writers import Writers, atomic_write, remove_files
from utils.metrics.attribution import Attribution, attribution_lines
from utils.metrics.calibration import Calibration, calibration_lines
from utils.metrics.scores import ImageScore, score_image
from utils.metrics.segmentation import LabelCounts, class_iou, confusion_matrix, mean_iou, pixel_accuracy
from utils.metrics.summary import Evaluation, nan_to_none
from utils.structures import Instances, Sample


class Evaluator:
    """Score each image and, at the end, the whole split.

    Args:
        names: class names, indexed by class id.
        save_dir: where `metrics.json`, the tables and the report go.
        writers: whose threads score.
        provenance: describes the run.
        worst_images: collects the images of the report; None: there is no report.
        attribution: splits the missing mean IoU between detector and SAM2; samples then carry what SAM2 makes of the
            true boxes. None: nobody asked for it.
        comparison: with annotations; None: nobody asked for it.
        tuning: chooses score thresholds; None: nobody asked for it.
    """

    def __init__(
        self,
        names: Sequence[str],
        save_dir: Path,
        writers: Writers,
        provenance: Provenance,
        *,
        worst_images: WorstImages | None = None,
        attribution: Attribution | None = None,
        comparison: Comparison | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        # (L, L): the confusion matrix of this process's images scored so far; of all processes' images at the end.
        self._matrix = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._label_names, self._save_dir, self._writers = ("background", *names), save_dir, writers
        self._worst_images, self._attribution, self._comparison = worst_images, attribution, comparison
        self._provenance, self._tuning = provenance, tuning
        self._scores: list[ImageScore] = []
        self._pictures: dict[str, bytes] = {}
        self._lock = Lock()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Score one image, which must have a target, in another thread.

        Raises:
            WriterError: an earlier one could not be scored.
        """
        self._writers.submit(self._save_dir / METRICS, lambda: self._score(sample, instances))

    def _score(self, sample: Sample, instances: Instances) -> None:
        score, matrix = score_image(sample, instances, len(self._label_names))
        with self._lock:
            self._scores.append(score)
            self._matrix += matrix
        if self._attribution is not None:
            assert sample.gt_box_instances is not None, sample.image_id
            self._attribution.add(sample, instances, sample.gt_box_instances)
        if self._comparison is not None:
            self._comparison.add(sample, instances)
        if self._tuning is not None:
            self._tuning.add(sample, instances)
        if self._worst_images is not None:
            assert sample.gt_mask is not None, sample.image_id
            self._worst_images.add(score, sample, instances)
            self._pictures[sample.image_id] = encode_maps(sample.gt_mask, instances.to_semantic())

    def running_metrics(self) -> dict[str, float]:
        """Return pixel accuracy and mean IoU of the images scored so far; NaN if there are none."""
        with self._lock:
            counts = LabelCounts.from_matrix(self._matrix)
        return {"accuracy": float(pixel_accuracy(counts)), "mIoU": float(mean_iou(counts))}

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Write the files and return the lines to print, the three metric lines last; both in the first process.

        Files of an earlier evaluation that this one does not make are removed: they would contradict its metrics.
        """
        evaluation = self.result(summary, session)
        # Only the first process goes on after this, but all take part in each exchange.
        panels = None if self._worst_images is None else self._worst_images.collect(session)
        pictures = dict(session.gather([*self._pictures.items()]))
        attribution = None if self._attribution is None else self._attribution.result(session)
        comparison = None if self._comparison is None else self._comparison.result(session)
        tuned = None if self._tuning is None else self._tuning.result(session)
        if evaluation is None:
            return SinkReport([])
        run = self._provenance.describe()
        files, lines = evaluation_files(evaluation, run, attribution), list[str]()
        files[COUNTS] = encode_run(evaluation, pictures)
        if attribution is not None:
            files[ATTRIBUTION] = encode_json(attribution, indent=2)
            lines += attribution_lines(attribution)
        weights = {model: file["sha256"] for model, file in run["weights"].items()}
        if calibration := Calibration.fit(evaluation.images, self._label_names[1:], weights):
            files[CALIBRATION] = encode_json(calibration.content(), indent=2)
            lines += calibration_lines(calibration, self._save_dir / CALIBRATION)
        if tuned:
            files[THRESHOLDS] = encode_json(tuned, indent=2)
        if tuned is not None:
            lines += tuning_lines(tuned, self._save_dir / THRESHOLDS)
        if comparison is not None:
            gains, gain_lines = comparison
            files[COMPARISON] = encode_json(gains, indent=2)
            lines += gain_lines
        if panels is not None:
            from utils.evaluation.report.page import render

            files[REPORT] = render(evaluation, panels, run, attribution, tuned)
            lines.append(f"report: {self._save_dir / REPORT}")
        remove_files(self._save_dir, ALL_FILES.difference(files))
        for name, content in files.items():
            atomic_write(self._save_dir / name, content)
        return SinkReport([*lines, *summary_lines(evaluation)])

    def result(self, summary: RunSummary, session: Session) -> Evaluation | None:
        """Join the scores of all processes when each has scored its images; None in all but the first process."""
        self._writers.flush()
        self._matrix, gathered = session.sum(self._matrix), session.gather(self._scores)
        if not session.is_main:
            return None
        images = tuple(sorted(gathered, key=lambda image: image.image_id))
        return Evaluation(self._label_names, self._matrix, images, tuple(summary.failures))


class Comparison:
    """Compare the metrics of a run with those of annotations, over the images that both have: what a correction gained.

    Args:
        class_map: leads from the classes of the annotations to those of the run.
        before: the annotations to compare with.
    """

    def __init__(self, class_map: ClassMap, before: AnnotationFolder) -> None:
        self._before, self._map, self._label_names = before, class_map, ("background", *class_map.names)
        # (2, L, L): the confusion matrices of the annotations and of the run.
        self._matrices = np.zeros((2, len(self._label_names), len(self._label_names)), np.int64)
        self._num_images, self._failures = 0, list[SampleError]()
        self._lock = Lock()

    def add(self, sample: Sample, instances: Instances) -> None:
        """Count an image, which must have a target, unless it has no annotation; threads may do so at the same time."""
        assert sample.gt_mask is not None, sample.image_id
        try:
            before = self._map.of_run(self._before.read(sample.image_id, sample.size))
        except SampleError as error:
            self._failures.append(error)
            return
        size = len(self._label_names)
        pair = [confusion_matrix(each.to_semantic(), sample.gt_mask, size) for each in (before, instances)]
        with self._lock:
            self._matrices += pair
            self._num_images += 1

    def result(self, session: Session) -> tuple[dict[str, Any], list[str]]:
        """Sum up all processes; return the content of `comparison.json` and the lines to print."""
        counts, images = LabelCounts.from_matrix(session.sum(self._matrices)), sum(session.gather([self._num_images]))
        failures = sorted(session.gather(self._failures), key=lambda failure: failure.image_id)
        metrics = {"Pixel_Accuracy": pixel_accuracy(counts), "Mean_IOU": mean_iou(counts)}
        ious = class_iou(counts).T
        content = {
            **{name: _gain(*pair) for name, pair in metrics.items()},
            "Class_IOU": {str(label): _gain(*pair) for label, pair in enumerate(ious)},
            "images": images,
            "without": {failure.image_id: failure.reason for failure in failures},
        }
        rows = metrics | {f"{label}:{name}": pair for label, (name, pair) in enumerate(zip(self._label_names, ious))}
        lines = [
            f"comparison: over {counted(images, 'image')}, from {self._before.path} to this run",
            *(f"comparison: {failure.path}: {failure.reason}, so it is left out here" for failure in failures),
        ]
        for name, (before, now) in rows.items():
            gain = "" if np.isnan(now - before) else f"  {now - before:+.4f}"
            lines.append(f"comparison: {name:<20} {before:.4f} -> {now:.4f}{gain}")
        return nan_to_none(content), lines


def _gain(before: float, now: float) -> dict[str, float]:
    return {"before": before, "now": now, "gain": now - before}
