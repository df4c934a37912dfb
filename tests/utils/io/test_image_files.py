from __future__ import annotations

import pytest

from utils.io.image_files import is_image_name, is_video_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.JPG", True), ("b.c.Jpeg", True), ("x.TIFF", True), ("a.txt", False), ("jpg", False), ("._a.jpg", False)],
)
def test_is_image_name(name: str, expected: bool) -> None:
    assert is_image_name(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"), [("a.MP4", True), ("b.c.mkv", True), ("a.jpg", False), ("mp4", False), ("._a.mp4", False)]
)
def test_is_video_name(name: str, expected: bool) -> None:
    assert is_video_name(name) is expected
