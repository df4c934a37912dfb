"""The random sample of objects, and the limit of the share of wrong ones against scipy's exact intervals."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from utils.annotations.audit import sample_objects, upper_limit

COUNTS = {f"image {i}": i % 4 for i in range(200)}


def test_the_sample_is_one_of_objects_and_depends_on_no_order() -> None:
    drawn = sample_objects(COUNTS, 50)
    assert sum(map(len, drawn.values())) == 50
    assert all(0 <= i < COUNTS[image_id] for image_id, each in drawn.items() for i in each)
    shuffled = random.Random(0).sample([*COUNTS.items()], len(COUNTS))
    assert sample_objects(dict(shuffled), 50) == drawn
    larger = sample_objects(COUNTS, 80)
    assert all({*each} <= {*larger[image_id]} for image_id, each in drawn.items())
    assert sample_objects(COUNTS, 0) == {} and sum(map(len, sample_objects(COUNTS, 1000).values())) == 300


def test_every_object_has_the_same_chance() -> None:
    """Of 200 sets of 100 objects, 10 are drawn each: at every position about as often."""
    times = np.zeros(100)
    for each in range(200):
        for i in sample_objects({f"{each}": 100}, 10)[f"{each}"]:
            times[i] += 1
    low, high = binom.ppf([0.0001, 0.9999], 200, 0.1)
    assert low <= times.min() and times.max() <= high


@pytest.mark.parametrize(("wrong", "checked"), [(0, 95), (1, 100), (7, 60), (59, 60), (60, 60)])
def test_the_limit_is_that_of_clopper_and_pearson(wrong: int, checked: int) -> None:
    assert upper_limit(wrong, checked) == pytest.approx(binomtest(wrong, checked).proportion_ci(0.9, "exact").high)


def test_no_wrong_object_among_95_means_at_most_3_1_percent() -> None:
    assert f"{100 * upper_limit(0, 95):.1f}" == "3.1" and upper_limit(0, 0) == 1


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_the_limit_is_exceeded_with_a_chance_of_5_percent_at_most(share: float) -> None:
    chances = binom.pmf(np.arange(101), 100, share)
    held = sum(chance for wrong, chance in enumerate(chances) if upper_limit(wrong, 100) >= share)
    assert held >= 0.95
