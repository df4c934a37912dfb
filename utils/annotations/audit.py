"""How many objects are wrong, from a random sample of them that a person has checked."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Mapping

CONFIDENCE = 0.95


def sample_objects(counts: Mapping[str, int], size: int) -> dict[str, list[int]]:
    """Draw objects at random, each with the same chance: those of the least hashes.

    The sample depends on neither the order of images nor the processes; a larger one contains a smaller one.

    Args:
        counts: objects of each image, by its id.
        size: objects to draw; all where there are fewer.

    Returns:
        the positions of the objects drawn, ascending, by the id of their image.
    """
    objects = ((image_id, i) for image_id, count in counts.items() for i in range(count if size else 0))
    chosen = heapq.nsmallest(size, objects, key=lambda each: hashlib.sha256(repr(each).encode()).digest())
    drawn: defaultdict[str, list[int]] = defaultdict(list)
    for image_id, i in sorted(chosen):
        drawn[image_id].append(i)
    return dict(drawn)


def upper_limit(wrong: int, checked: int) -> float:
    """Compute the share of wrong objects that is exceeded with a chance of 5 % at most: the one-sided exact limit.

    It is that of Clopper and Pearson (1934), from the beta distribution; 1 where nothing was checked.
    """
    from scipy.stats import beta

    return float(beta.ppf(CONFIDENCE, wrong + 1, checked - wrong)) if wrong < checked else 1.0
