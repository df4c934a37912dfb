"""`--tune`: the score thresholds that give the highest mean IoU, what they gain, and how to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.config import DatasetConfig
from utils.config.values import ALL_OTHERS
from utils.distributed import Session
from utils.io.terminal import counted
from utils.metrics.bootstrap import unit_of
from utils.metrics.segmentation import LabelCounts, class_iou, mean_iou
from utils.metrics.summary import nan_to_none
from utils.metrics.thresholds import Choice, Stacks, choose, stack_pixels
from utils.structures import Instances, Sample

KINDS = {"one": "one threshold", "classes": "a threshold a class"}
"""What is chosen: one threshold for all classes, and one for each -> its title."""

_MOST_SHOWN = 10
"""Classes whose thresholds a line shows; the file has all."""


class Tuning:
    """Collect what lies over the pixels of each image; at the end choose thresholds.

    Args:
        names: class names, indexed by class id.
        before: with the thresholds of the run, over which gains are measured.
    """

    def __init__(self, names: Sequence[str], before: DatasetConfig) -> None:
        self._names, self._before = names, before.class_conf(names)
        self._images: list[tuple[str, Stacks]] = []

    def add(self, sample: Sample, instances: Instances) -> None:
        """Count an image, which must have a target; threads may do so at the same time."""
        assert sample.gt_mask is not None, sample.image_id
        self._images.append((sample.image_id, stack_pixels(sample.gt_mask, instances)))

    def result(self, session: Session) -> dict[str, Any]:
        """Join all processes and return the content of `thresholds.json`; `conf` is what `dataset.conf` takes.

        It is empty for fewer than two images, or clips, since one half is judged with what the other half chose.
        """
        gathered = sorted(session.gather(self._images), key=lambda each: each[0])
        if len({unit_of(image_id) for image_id, _ in gathered}) < 2:
            return {}
        ids, images = zip(*gathered)
        stacks, num_labels = Stacks.join(images), len(self._names) + 1
        total = stacks.total(stacks.labels(self._before), num_labels)
        choices = dict(zip(KINDS, choose(stacks, ids, num_labels, self._before)))
        best = max(KINDS, key=lambda kind: choices[kind].mean_iou)
        pays = choices[best].gain > 0
        conf = choices[best].conf if pays else self._before
        return nan_to_none(
            {
                "conf": self._by_name(conf),
                "chosen": best if pays else "before",
                "images": len(ids),
                "before": {"conf": self._by_name(self._before), **self._measured(total)},
                **{kind: self._described(choice) for kind, choice in choices.items()},
            }
        )

    def _described(self, choice: Choice) -> dict[str, Any]:
        return {
            "conf": self._by_name(choice.conf),
            **self._measured(choice.counts),
            "gain": choice.gain,
            "gain_interval_95": choice.limits,
            "Mean_IOU_where_chosen": choice.seen,
        }

    def _measured(self, counts: npt.NDArray[np.int64]) -> dict[str, Any]:
        named = zip(("background", *self._names), class_iou(LabelCounts(counts)))
        return {"Mean_IOU": mean_iou(LabelCounts(counts)), "Class_IOU": dict(named)}

    def _by_name(self, conf: npt.NDArray[np.float32]) -> dict[str, float]:
        """Return thresholds by class; `*`, the most frequent one, stands for all classes that are not named."""
        values = [round(float(each), 4) for each in conf]
        common = max(values, key=values.count)
        single = {name: value for name, value in zip(self._names, values) if value != common}
        return {**single, ALL_OTHERS: common}


def tuning_lines(result: dict[str, Any], file: Path) -> list[str]:
    """Format the result as lines for the console.

    Args:
        file: where it is written.
    """
    if not result:
        return ["tune: no thresholds chosen: that takes two images or more, and frames of one clip count as one"]
    before, chosen = result["before"], result["chosen"]
    rows = [("as before", before, ""), *((title, result[kind], _gain(result[kind])) for kind, title in KINDS.items())]
    lines = [f"{name:<19} Mean_IOU {row['Mean_IOU']:.4f}{gain}  {_shown(row['conf'])}" for name, row, gain in rows]
    over = f"over {counted(result['images'], 'image')}, each half with what was chosen on the other half"
    if chosen == "before":
        advice = ["no other thresholds gain on images that they were not chosen on: keep those of before"]
    else:
        low = result[chosen]["gain_interval_95"][0]
        doubt = "" if low is not None and low > 0 else "; the interval holds 0, so the gain may be chance"
        advice = [f'{KINDS[chosen]} is best{doubt}; use it: -conf {file}, or in the config: "conf": "{file}"']
    return [f"tune: {line}" for line in (over, *lines, *advice)]


def _shown(conf: Mapping[str, float]) -> str:
    """Write thresholds as the config takes them; of many classes only the first."""
    few = dict([*conf.items()][-_MOST_SHOWN:])
    return json.dumps(few, ensure_ascii=False) + (f" and {len(conf) - len(few)} more" if len(few) < len(conf) else "")


def _gain(row: Mapping[str, Any]) -> str:
    low, high = row["gain_interval_95"]
    limits = "" if low is None else f" (95 %: {low:+.4f} to {high:+.4f})"
    return f", {row['gain']:+.4f}{limits}"
