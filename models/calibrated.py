"""Give found objects their expected IoU, by a calibration that an evaluation has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.annotations.fingerprint import file_hash
from utils.distributed import Session
from utils.engine import Cascade, Result
from utils.errors import SampleError, UserError
from utils.io.terminal import counted
from utils.metrics.calibration import Calibration, scores_of
from utils.structures import Sample


def load_calibration(path: Path, models: Mapping[str, Path]) -> Calibration:
    """Read a calibration for the models of a run.

    Args:
        models: their weight files, by model.

    Raises:
        UserError: the file cannot be used, or other weights gave the scores that it was fitted to.
    """
    calibration = Calibration.load(path)
    for model, weights in models.items():
        if calibration.weights.get(model, file_hash(weights)) != file_hash(weights):
            advice = "evaluate a labelled split with these, which writes their calibration.json"
            raise UserError(f"{path}: was fitted to the scores of another {model} than {weights}; {advice}")
    return calibration


class CalibratedCascade:
    """Add expected IoUs to another cascade's instances, and say at the end what they are on average.

    Args:
        cascade: finds the instances.
        calibration: maps their scores.
        names: class names, by class id.
    """

    def __init__(self, cascade: Cascade, calibration: Calibration, names: Sequence[str]) -> None:
        self._cascade, self._calibration, self._names = cascade, calibration, names
        self._found: list[tuple[list[float], list[list[float]]]] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Return the instances of each image of a batch, in order."""
        return map(self._calibrated, self._cascade(samples))  # which is called at once, so that a GPU can begin

    def summary_lines(self, session: Session) -> list[str]:
        """Return what the cascade has to say, the expected mean IoU, and which scores differ from those of the fit."""
        lines, found = self._cascade.summary_lines(session), session.gather(self._found)
        if not found:
            return lines
        expected = np.concatenate([ious for ious, _ in found])
        mean, objects = float(expected.mean()), len(expected)
        low, high = self._calibration.mean_interval(mean, objects, len(found))
        where = f"{counted(objects, 'object')} in {counted(len(found), 'image')}"
        lines.append(f"calibration: expected mean IoU {mean:.4f} (95 %: {low:.4f} to {high:.4f}) of {where}")
        shifts = self._calibration.shifts(np.concatenate([scores for _, scores in found]))
        for name, distance in shifts.items():
            fact = f"{name} is distributed otherwise than where the calibration was fitted (Kolmogorov-Smirnov"
            advice = f"{distance:.2f}): expected IoUs and their interval may be wrong; fit it on images like these"
            lines.append(f"calibration: warning: {fact} {advice}")
        return lines

    def _calibrated(self, result: Result) -> Result:
        if isinstance(result, SampleError):
            return result
        sample, instances = result
        expected = self._calibration.expected_ious(instances, self._names)
        known = ~np.isnan(expected)
        if known.any():
            self._found.append((expected[known].tolist(), scores_of(instances)[known].tolist()))
        return sample, replace(instances, expected_ious=expected)
