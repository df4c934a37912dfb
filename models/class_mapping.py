"""Give instances and ground truth the classes of the run, where `dataset.class_map` merges, renames or drops some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from utils.class_map import ClassMap
from utils.distributed import Session
from utils.engine import Cascade, Result
from utils.errors import SampleError
from utils.structures import Sample


def with_class_map(cascade: Cascade, class_map: ClassMap) -> Cascade:
    """Wrap a cascade so that its results have the classes of the run, where these differ."""
    return cascade if class_map.changes_nothing else MappedCascade(cascade, class_map)


class MappedCascade:
    """Map the classes of another cascade's results; tracks and masks stay as they are."""

    def __init__(self, cascade: Cascade, class_map: ClassMap) -> None:
        self._cascade, self._map, self._seen = cascade, class_map, Counter[str]()

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Return the instances of each image of a batch, in order."""
        return map(self._mapped, self._cascade(samples))

    def summary_lines(self, session: Session) -> list[str]:
        """Return what the cascade has to say, how many objects were dropped, and which names never occurred."""
        seen, source, dropped = session.sum_counts(self._seen), self._map.source, self._map.ids < 0
        counts = ", ".join(f"{name} {seen[name]}" for name, gone in zip(source, dropped) if gone and seen[name])
        never = ", ".join(name for name in source[self._map.num_listed :] if not seen[name])
        return [
            *self._cascade.summary_lines(session),
            *([f"class_map: objects of dropped classes: {counts}"] if counts else []),
            *([f"class_map: nothing was called {never}"] if never else []),
        ]

    def _mapped(self, result: Result) -> Result:
        if isinstance(result, SampleError):
            return result
        sample, instances = result
        self._seen.update(self._map.source[i] for i in instances.detections.class_ids)
        if sample.gt_mask is not None:
            sample = replace(sample, gt_mask=np.asarray(cv2.LUT(sample.gt_mask, self._map.labels), np.uint8))
        if sample.gt_instances is not None:
            sample = replace(sample, gt_instances=self._map.of_run(sample.gt_instances))
        if sample.gt_box_instances is not None:
            sample = replace(sample, gt_box_instances=self._map.of_run(sample.gt_box_instances))
        return sample, self._map.of_run(instances)
