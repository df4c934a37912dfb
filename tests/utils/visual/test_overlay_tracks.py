"""Track ids in overlays, and their colors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from tests.helpers.clips import instances, sample
from tests.helpers.images import contains
from utils.config import PredictorConfig
from utils.visual.colors import NUM_TRACK_COLORS, class_color, track_color
from utils.visual.drawing import Style, draw_tag
from utils.visual.overlay import TAGS_OF_CLIPS, render

NAMES = ("dog", "cat")


def lab(color: tuple[int, int, int]) -> np.ndarray:
    """CIELAB, by cv2, in which people just tell colours apart at a distance of about 2."""
    return cv2.cvtColor(np.array([[color]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]


def test_neighboring_track_ids_have_distant_colors() -> None:
    colors = [lab(track_color(track_id)) for track_id in range(1, 2 * NUM_TRACK_COLORS)]
    assert min(np.linalg.norm(a - b) for a, b in pairwise(colors)) > 25
    assert len({track_color(track_id) for track_id in range(101, 101 + NUM_TRACK_COLORS)}) == NUM_TRACK_COLORS


def test_the_color_of_a_track_does_not_depend_on_class_or_position() -> None:
    first = render(sample("a", 0, 2), instances(0, [7, 8], [0, 0]), NAMES)
    second = render(sample("a", 0, 2), instances(0, [9, 7, 8], [0, 1, 0])[np.array([1, 2])], NAMES)
    assert np.array_equal(first[40, 24], second[84, 24])
    assert np.array_equal(first[84, 24], second[128, 24])
    assert not np.array_equal(first[40, 24], first[84, 24]), "neighbours of one class"


def test_the_tag_says_class_track_and_score() -> None:
    style = Style.for_image((400, 600), TAGS_OF_CLIPS, PredictorConfig())
    overlay = render(sample("a", 0, 1, size=(400, 600)), instances(0, [3], [0], (400, 600)), NAMES)
    expected = draw_tag("dog", "3 0.50", style.text, track_color(3), 600)
    assert contains(overlay, expected)
    assert not np.array_equal(expected, draw_tag("dog", "0.50", style.text, track_color(3), 600))


def test_text_keeps_its_size_from_frame_to_frame() -> None:
    few, many = (instances(0, range(1, n + 1), [0] * n, (1500, 1500)) for n in (1, 90))
    frames = [render(sample("a", 0, 1, size=(1500, 1500)), found, NAMES) for found in (few, many)]
    style = Style.for_image((1500, 1500), TAGS_OF_CLIPS, PredictorConfig())
    for frame in frames:
        expected = draw_tag("dog", "1 0.50", style.text, track_color(1), 1500)
        assert contains(frame[:200, :400], expected)


@pytest.mark.parametrize("class_id", [0, 1])
def test_instances_without_tracks_have_the_colors_of_their_classes(class_id: int) -> None:
    found = replace(instances(0, [5], [class_id]), track_ids=None)
    overlay = render(sample("a", 0, 1), found, NAMES)
    assert contains(overlay, draw_tag(NAMES[class_id], "0.50", 11, class_color(class_id), 256))
