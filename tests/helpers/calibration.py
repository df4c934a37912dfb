"""A calibration that is easy to reckon with."""

from __future__ import annotations

import numpy as np

from utils.metrics.calibration import QUANTILES, Calibration, IouMap, Steps

HALVED = Steps(np.array([0.0, 1.0]), np.array([0.0, 0.5]))


def mean_of_scores(**weights: str) -> Calibration:
    """Expect the mean of both scores as the IoU, and 0.1 less of dogs."""
    iou_map = IouMap((HALVED, HALVED), Steps(np.array([0.0, 1.0]), np.array([0.0, 1.0])), {"dog": -0.1})
    return Calibration(iou_map, 100, 400, 0.04, 0.02, 0.1, np.stack([QUANTILES, QUANTILES]), weights)
