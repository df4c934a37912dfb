from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from utils.classes import VOID
from utils.evaluation.report.pictures import ERROR_COLORS, ErrorKind, draw_panels, error_map
from utils.structures import Detections
from utils.visual.colors import class_color

# Machado, Oliveira and Fernandes (2009): what people without one kind of cone see, in linear light.
EYES = {
    "all cones": np.eye(3),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def decoded(content: bytes) -> np.ndarray:
    """(H, W, 4) uint8 RGBA."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def oklab(linear: np.ndarray) -> np.ndarray:
    """(3,) lightness, green to red, blue to yellow of (3,) linear RGB (Björn Ottosson)."""
    cones = (
        (0.41222147, 0.53633254, 0.05144599),
        (0.2119035, 0.68069955, 0.10739696),
        (0.08830246, 0.28171884, 0.6299787),
    )
    axes = (
        (0.21045426, 0.79361779, -0.00407205),
        (1.9779985, -2.42859221, 0.45059371),
        (0.0259040, 0.78277177, -0.80867577),
    )
    return np.array(axes) @ np.cbrt(np.array(cones) @ linear)


@pytest.mark.parametrize("eyes", EYES)
def test_the_colours_of_errors_are_far_apart_for_everybody(eyes: str) -> None:
    def seen(color: tuple[int, int, int]) -> np.ndarray:
        srgb = np.array(color) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return oklab(np.clip(np.array(EYES[eyes]) @ linear, 0, 1))

    for one, other in combinations(ERROR_COLORS, 2):
        distance = np.linalg.norm(seen(ERROR_COLORS[one]) - seen(ERROR_COLORS[other]))
        assert distance > 0.15, (one, other)  # a just noticeable difference is about 0.02


def test_every_pair_of_labels_has_its_kind() -> None:
    target = np.array([[0, 0, 1, 1, 1, VOID, VOID]], np.uint8)
    prediction = np.array([[0, 2, 0, 1, 2, 0, 2]], np.uint8)
    kinds = (
        ErrorKind.NOTHING,
        ErrorKind.FALSE,
        ErrorKind.MISSED,
        ErrorKind.RIGHT,
        ErrorKind.WRONG_CLASS,
        ErrorKind.VOID,
        ErrorKind.VOID,
    )
    assert error_map(target, prediction).tolist() == [list(kinds)]


def test_layers_have_the_colours_of_the_overlays_and_show_the_photo_elsewhere() -> None:
    target = np.array([[0, 1, 2, VOID]], np.uint8).repeat(4, axis=0)
    pictures = draw_panels("a", np.zeros((4, 4, 3), np.uint8), target, np.full((4, 4), 2, np.uint8), 400, 10**6)
    assert pictures.size == (4, 4)
    layer = decoded(pictures.target)
    assert layer[0, 0, 3] == 0
    assert layer[0, 1].tolist() == [*class_color(0), 255]
    assert layer[0, 2].tolist() == [*class_color(1), 255]
    assert layer[0, 3, 3] == 255
    assert (decoded(pictures.prediction) == [*class_color(1), 255]).all()
    expected = [
        ERROR_COLORS[kind] for kind in (ErrorKind.FALSE, ErrorKind.WRONG_CLASS, ErrorKind.RIGHT, ErrorKind.VOID)
    ]
    assert decoded(pictures.errors)[0, :, :3].tolist() == [list(color) for color in expected]


@pytest.mark.parametrize(("size", "small"), [((300, 200), (100, 67)), ((50, 20), (50, 20)), ((1, 1000), (1, 100))])
def test_large_images_become_small_and_small_ones_stay(size: tuple[int, int], small: tuple[int, int]) -> None:
    labels = np.zeros(size, np.uint8)
    pictures = draw_panels("a", np.zeros((*size, 3), np.uint8), labels, labels, 100, 10**6)
    assert pictures.size == small
    for content in (pictures.photo, pictures.target, pictures.prediction, pictures.errors):
        assert decoded(content).shape[:2] == small


def test_boxes_are_scaled_with_the_picture() -> None:
    labels, boxes = np.zeros((200, 100), np.uint8), Detections.from_arrays([[10, 20, 60, 180]], [0.876], [1])
    pictures = draw_panels("a", np.zeros((200, 100, 3), np.uint8), labels, labels, 100, 10**6, boxes)
    assert pictures.boxes == ((1, 0.88, 5, 10, 25, 80),)


def test_detailed_photographs_get_coarser_where_many_are_shown() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    labels = np.zeros((200, 200), np.uint8)
    fine, coarse = (draw_panels("a", noise, labels, labels, 400, limit) for limit in (10**6, 15_000))
    assert sum(map(len, (coarse.photo, coarse.target, coarse.prediction, coarse.errors))) <= 15_000 < len(fine.photo)
    assert coarse.target == fine.target
