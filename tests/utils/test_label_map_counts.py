"""Values of maps, counted, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from utils.label_maps import pair_counts, value_counts


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (67, 129), (1, 70_000)])
def test_counts_are_numpy_s(size: tuple[int, int]) -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
    expected = np.bincount(first.ravel() * np.int64(256) + second.ravel(), minlength=1 << 16).reshape(256, 256)
    np.testing.assert_array_equal(pair_counts(first, second), expected)
    np.testing.assert_array_equal(value_counts(first), expected.sum(axis=1))


def test_maps_may_be_parts_of_others() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    part = whole[3:30:2, 5:41]
    np.testing.assert_array_equal(value_counts(part), np.bincount(part.ravel(), minlength=256))


def test_more_pixels_than_float32_counts() -> None:
    size = (4098, 4100)
    labels = np.full(size, 7, np.uint8)
    labels[0, 0] = 3
    assert int(np.float32(labels.size - 1)) != labels.size - 1
    counts = value_counts(labels)
    assert (counts[7], counts[3]) == (labels.size - 1, 1)
