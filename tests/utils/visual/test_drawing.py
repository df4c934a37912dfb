"""Outlines, against SciPy's exact distances."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from utils.masks import Mask
from utils.visual import drawing
from utils.visual.drawing import Mark, Style, draw_marks

COLOR = (10, 200, 90)


def ragged(size: tuple[int, int], seed: int, threshold: float = 0.2) -> npt.NDArray[np.bool_]:
    """Blobs with holes and specks; some reach the borders of the image."""
    noise = np.random.default_rng(seed).standard_normal((size[0] // 6, size[1] // 6)).astype(np.float32)
    return np.asarray(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC) > threshold)


def outlined(mask: npt.NDArray[np.bool_], half: int) -> npt.NDArray[np.uint8]:
    style = Style(11, 1, half, 0.45, masks=False, outlines=True, font=None)
    image = np.full((*mask.shape, 3), 100, np.uint8)
    return draw_marks(image, [Mark(Mask.from_array(mask), COLOR, "", "", (0, 0, 1, 1), boxed=False)], style)


def distances(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """From the nearest pixel of the mask that has a neighbor, or the end of the image, outside it."""
    edge = mask & ~ndimage.binary_erosion(mask)
    return np.asarray(ndimage.distance_transform_edt(~edge))


@pytest.mark.parametrize("half", [0, 1, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_an_outline_follows_a_ragged_mask_at_its_width_and_fades_out_in_a_dark_fringe(half: int, seed: int) -> None:
    mask = ragged((150, 200), seed)
    drawn, away = outlined(mask, half), distances(mask)
    blurred = 0.03 * (half + 1)  # distances are approximated, by 2 % at most
    assert (drawn[away <= half - blurred] == COLOR).all()
    assert (drawn[away >= half + 1 + blurred] == 100).all()
    fringe = drawn[(away > half + 0.8) & (away < half + 1 - blurred)].astype(int)
    assert (np.abs(fringe - 50) <= 0.25 * np.abs(np.subtract(COLOR, 50))).all()


def test_a_mask_that_fills_its_image_is_outlined_along_the_border() -> None:
    drawn = outlined(np.ones((40, 60), bool), 2)
    assert (drawn[:3] == COLOR).all() and (drawn[:, -3:] == COLOR).all()
    assert (drawn[4:-4, 4:-4] == 100).all()


def test_an_empty_mask_has_no_outline() -> None:
    assert (outlined(np.zeros((40, 60), bool), 2) == 100).all()


def test_outlines_of_large_masks_are_drawn_in_strips_that_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = ragged((150, 200), 5)
    whole = outlined(mask, 4)
    for rows in (1, 7, 64):
        monkeypatch.setattr(drawing, "STRIP_PIXELS", rows * 200)
        assert np.array_equal(outlined(mask, 4), whole)
