from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.config import DatasetConfig
from utils.distributed import Session
from utils.evaluation.tuning import Tuning, tuning_lines
from utils.masks import Mask
from utils.structures import Instances, Sample


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("ids", "chosen"), [(["a"], False), (["clip/1", "clip/2"], False), (["a", "b"], True)])
def test_thresholds_are_chosen_only_where_they_can_be_judged_on_other_images(ids: list[str], chosen: bool) -> None:
    target = np.zeros((8, 8), np.uint8)
    target[2:6, 2:6] = 1
    found = Instances.from_masks((8, 8), [0], [Mask.from_array(target == 1)], [0.4])
    tuning = Tuning(["car"], DatasetConfig())
    for image_id in ids:
        image = np.zeros((8, 8, 3), np.uint8)
        tuning.add(Sample(image_id, Path(f"{image_id}.png"), image, gt_mask=target), found)
    result = tuning.result(Session())
    assert bool(result) == chosen
    assert ("no thresholds chosen" in "".join(tuning_lines(result, Path("thresholds.json")))) != chosen
