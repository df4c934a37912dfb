"""The judges: scipy finds parts and holes, labelme, ultralytics and pycocotools draw the polygons."""

from __future__ import annotations

import labelme.utils
import numpy as np
import pytest
from scipy import ndimage

from utils.formats.polygons import (
    bridge_rings,
    iou,
    polygons_on_pixel_centers,
    polygons_on_pixel_edges,
    rasterize_coco,
    rasterize_labelme,
    rasterize_ultralytics,
)
from utils.masks import Mask


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 25, 2)) < rng.random()
    mask[0, 0] = True
    return Mask.from_array(mask).crop


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius**2


@pytest.mark.parametrize("seed", range(40))
def test_without_tolerance_tools_draw_every_pixel(seed: int) -> None:
    crop = noise(seed)
    rings, edges = polygons_on_pixel_centers(crop, 0), polygons_on_pixel_edges(crop, 0)
    assert len(rings) == len(edges) == ndimage.label(crop, np.ones((3, 3)))[1]
    np.testing.assert_array_equal(rasterize_labelme(rings, crop.shape), crop)
    np.testing.assert_array_equal(rasterize_coco(edges, crop.shape), crop)
    parts = [rasterize_ultralytics(ring, crop.shape) for ring in rings]
    np.testing.assert_array_equal(np.any(parts, axis=0), crop)


def test_holes_and_islands_in_them_are_held() -> None:
    crop = disc(40)
    crop[20:61, 20:61] &= ~disc(20)
    crop[30:51, 30:51] |= disc(10)
    rings, edges = polygons_on_pixel_centers(crop, 1), polygons_on_pixel_edges(crop, 1)
    assert len(rings) == len(edges) == 2
    for drawn in (
        rasterize_labelme(rings, crop.shape),
        rasterize_coco(edges, crop.shape),
        rasterize_ultralytics(bridge_rings(rings), crop.shape),
    ):
        assert iou(drawn, crop) > 0.97
        assert ndimage.label(~drawn)[1] > ndimage.label(~disc(40))[1]


@pytest.mark.parametrize("seed", range(10))
def test_polygons_are_drawn_as_labelme_draws_them(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-3, 30, (9, 2))
    expected = labelme.utils.shape_to_mask((28, 25), points.tolist(), "polygon")
    np.testing.assert_array_equal(rasterize_labelme([points], (28, 25)), expected)


def test_the_tolerance_bounds_the_distance_and_saves_points() -> None:
    crop = disc(60)
    exact, coarse = polygons_on_pixel_centers(crop, 0), polygons_on_pixel_centers(crop, 2)
    assert 8 < len(coarse[0]) < len(exact[0]) / 4
    drawn = rasterize_labelme(coarse, crop.shape)
    assert not (ndimage.binary_erosion(crop, np.ones((3, 3)), iterations=3) & ~drawn).any()
    assert not (drawn & ~ndimage.binary_dilation(crop, np.ones((3, 3)))).any()
    assert iou(drawn, crop) > 0.95


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_small_parts_keep_their_shape_whatever_the_tolerance(radius: int) -> None:
    rings = polygons_on_pixel_centers(disc(radius), 50)
    assert iou(rasterize_labelme(rings, disc(radius).shape), disc(radius)) > 0.95


def test_parts_are_bridge_rings_by_lines_between_their_nearest_points() -> None:
    crop = np.zeros((20, 30), bool)
    crop[2:9, 2:9] = crop[2:9, 15:28] = crop[14:19, 20:23] = True
    rings = polygons_on_pixel_centers(crop, 0)
    drawn = rasterize_ultralytics(bridge_rings(rings), crop.shape)
    assert (drawn | ~crop).all()
    assert ndimage.label(drawn, np.ones((3, 3)))[1] == 1
    assert (drawn & ~crop).sum() <= 6 + 5


def test_no_mask_has_no_outline() -> None:
    assert polygons_on_pixel_centers(np.zeros((0, 0), bool), 1) == []
    assert iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1
