"""The pictures of the worst images, kept while images pass."""

from __future__ import annotations

import math
from bisect import insort
from threading import Lock

from utils.distributed import Session
from utils.evaluation.result import ImageScore
from utils.report.pictures import Pictures, draw_pictures
from utils.structures import Instances, Sample

SIDE = 400
"""The most pixels a side of a picture."""
PIXELS = 80_000_000
"""Of all photographs together, were they square: many are smaller than few."""
BYTES = 9_000_000
"""Of all pictures together, about; on the page they take a third more, and the rest of it a few MB at most."""

Rank = tuple[float, str]
"""Mean IoU and id of an image: the order from the worst to the best."""


class Album:
    """Keeps the pictures of the images with the lowest mean IoU; an image that is all void comes after all others.

    Which ones are kept depends neither on the order of the images nor on how processes share them.

    Args:
        title: of the page that shows it.
        count: how many images it keeps; memory does not grow beyond theirs.
    """

    def __init__(self, title: str, count: int) -> None:
        self.title, self.count = title, count
        self._side, self._limit = min(SIDE, math.isqrt(PIXELS // max(count, 1))), BYTES // max(count, 1)
        self._kept: list[tuple[Rank, Pictures]] = []
        self._lock = Lock()

    def add(self, score: ImageScore, sample: Sample, instances: Instances) -> None:
        """Draws the pictures of an image, unless enough worse ones are there already; several threads may."""
        rank = rank_of(score)
        with self._lock:
            full = len(self._kept) >= self.count
            if full and (not self._kept or rank > self._kept[-1][0]):
                return
        assert sample.target is not None, sample.image_id
        pictures = draw_pictures(
            sample.image_id, sample.image, sample.target, instances.semantic(), self._side, self._limit
        )
        with self._lock:
            insort(self._kept, (rank, pictures), key=lambda entry: entry[0])
            del self._kept[self.count :]

    def collect(self, session: Session) -> list[Pictures]:
        """The pictures of the worst images of all processes, the worst first; every process has to call it."""
        kept = sorted(session.gather(self._kept), key=lambda entry: entry[0])
        return [pictures for _, pictures in kept[: self.count]]


def rank_of(score: ImageScore) -> Rank:
    """Sorts images: the worst first, those without a mean IoU last, ties by id."""
    return (math.inf if math.isnan(score.mean_iou) else score.mean_iou), score.image_id
