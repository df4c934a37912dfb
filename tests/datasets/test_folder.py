from __future__ import annotations

import errno
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageFolder, ImageTree, natural_key
from utils.errors import SampleError, UserError
from utils.io.image_files import IMAGE_SUFFIXES


def paint(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (200, 100, 50)).save(path)


def test_natural_order() -> None:
    names = ["clip10/1", "clip2/10", "clip2/9", "a", "clip2/009", "1", "01", "img12b3", "img12b20", "img2", "²", "٣"]
    ordered = ["01", "1", "a", "clip2/009", "clip2/9", "clip2/10", "clip10/1", "img2", "img12b3", "img12b20", "²", "٣"]
    assert sorted(names, key=natural_key) == ordered


def test_natural_order_compares_numbers_by_value_and_folder_by_folder() -> None:
    def plain_key(name: str) -> tuple[list[list[int | str]], str]:
        folders = [re.split(r"([0-9]+)", part) for part in name.split("/")]
        return [[int(text) if i % 2 else text for i, text in enumerate(part)] for part in folders], name

    rng, parts = random.Random(0), ("a", "b", "0", "1", "7", "00", "12", "/", " ", "-", "\x01", "\x02", "é")
    names = {re.sub("^/|/$|/(?=/)", "", "".join(rng.choices(parts, k=rng.randrange(1, 9)))) for _ in range(4000)}
    assert sorted(names, key=natural_key) == sorted(names, key=plain_key)


def test_all_folders_below_a_folder_are_searched(tmp_path: Path) -> None:
    paint(*(tmp_path / name for name in ("b10.PNG", "b9.jpg", "sub/deep/x.y.webp", ".hidden/h.jpg")))
    for text in ("notes.txt", "data.yaml"):
        (tmp_path / text).write_text("no image")
    (tmp_path / "._b9.jpg").write_bytes(b"left by a Mac")
    folder = ImageFolder([tmp_path])
    assert folder.ids == ["b9", "b10", "sub/deep/x.y"]
    assert [path.name for path in folder.paths] == ["b9.jpg", "b10.PNG", "x.y.webp"]
    sample = folder.load(1)
    assert (sample.image_id, sample.path, sample.gt_mask) == ("b10", tmp_path / "b10.PNG", None)
    np.testing.assert_array_equal(sample.image, np.broadcast_to(np.array([200, 100, 50], np.uint8), (3, 4, 3)))


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    inside, elsewhere = tmp_path / "photos", tmp_path / "disk"
    paint(inside / "a.jpg", elsewhere / "walk" / "b.jpg")
    (inside / "linked").symlink_to(elsewhere)
    (inside / "around").symlink_to(tmp_path)
    (elsewhere / "walk" / "back").symlink_to(inside)
    assert ImageFolder([inside]).ids == ["a", "linked/walk/b"]
    (tmp_path / "alias").symlink_to(inside)
    assert ImageFolder([tmp_path / "alias"]).ids == ["a", "linked/walk/b"]


def test_folders_of_outputs_are_left_out_below_a_source_only(tmp_path: Path) -> None:
    outputs, elsewhere = tmp_path / "photos" / "overlays", tmp_path / "elsewhere"
    paint(tmp_path / "photos" / "a.jpg", outputs / "a.jpg", outputs / "deep" / "b.jpg", elsewhere / "c.jpg")
    (tmp_path / "photos" / "linked").symlink_to(elsewhere)
    passed = [outputs, elsewhere, tmp_path / "gone"]
    folder = ImageFolder([tmp_path / "photos"], passed)
    assert folder.ids == ["a"]
    assert folder.left_out == {outputs: 2, tmp_path / "photos" / "linked": 1}
    for sources, ids in (
        ([outputs], ["a", "deep/b"]),
        ([outputs / "deep"], ["b"]),
        ([outputs / "deep" / "b.jpg", elsewhere], ["b", "c"]),
    ):
        folder = ImageFolder(sources, passed)
        assert (folder.ids, folder.left_out) == (ids, {})


def test_label_maps_of_a_voc_tree_are_no_photos(tmp_path: Path) -> None:
    tree = tmp_path / "VOC2012"
    maps = [tree / name / "a.png" for name in ("SegmentationClass", "SegmentationObject")]
    paint(tree / "JPEGImages" / "a.jpg", *maps, tmp_path / "SegmentationClass" / "b.jpg")
    folder = ImageFolder([tmp_path])
    assert folder.ids == ["SegmentationClass/b", "VOC2012/JPEGImages/a"]
    assert folder.left_out == {path.parent: 1 for path in maps}
    assert ImageFolder([maps[0].parent]).ids == ["a"], "somebody wants them"


def test_files_and_folders_in_the_order_given(tmp_path: Path) -> None:
    paint(tmp_path / "z.jpg", tmp_path / "photos" / "2.jpg", tmp_path / "photos" / "10.jpg")
    folder = ImageFolder([tmp_path / "z.jpg", tmp_path / "photos", tmp_path / "photos" / "2.jpg"])
    assert folder.ids == ["z", "2", "10"]


def test_files_that_differ_in_their_suffix_alone_keep_it_in_their_ids(tmp_path: Path) -> None:
    paint(*(tmp_path / name for name in ("sub/a.jpg", "sub/a.png", "sub/a.jpg.png", "b.jpg", "c.PNG", "c.bmp")))
    folder = ImageFolder([tmp_path])
    found = dict(zip(folder.ids, (path.relative_to(tmp_path).as_posix() for path in folder.paths)))
    apart = ["sub/a.jpg", "sub/a.png", "sub/a.jpg.png", "c.PNG", "c.bmp"]
    assert found == {"b": "b.jpg", **{name: name for name in apart}}
    assert sorted(folder.with_suffix) == sorted(apart)


def test_colliding_ids_are_refused_together(tmp_path: Path) -> None:
    paint(*(tmp_path / place / f"{name}.jpg" for name in "abcdefghijkl" for place in ("one", "two")))
    with pytest.raises(
        UserError, match=r"must be unique(.|\n)*a: .*several files: .*a\.jpg, .*a\.jpg(.|\n)*and 2 more"
    ):
        ImageFolder([tmp_path / "one", tmp_path / "two"])


def test_ids_that_collide_between_folders_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg")
    with pytest.raises(UserError, match=r"one/a\.jpg, .*two/a\.jpg"):
        ImageFolder([tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "no such file or folder"),
        ("empty", "no image here"),
        ("notes.txt", "no image here"),
        ("data.yaml", "describes a YOLO dataset, which goes by -s .* -p "),
    ],
)
def test_source_without_images_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for text in ("notes.txt", "data.yaml"):
        (tmp_path / text).write_text("no image")
    with pytest.raises(UserError, match=f"{name}: {message}"):
        ImageFolder([tmp_path / name])


def test_photographs_of_kinds_that_are_not_read_are_noted(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg")
    for name in ("b.HEIC", "c.dng", ".d.heic"):
        (tmp_path / name).write_bytes(b"a photograph")
    folder = ImageFolder([tmp_path])
    assert folder.ids == ["a"]
    assert {path.name for path in folder.unread} == {"b.HEIC", "c.dng"}


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg")

    def refusing(listed: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def refuse(path: Path) -> Any:
            if Path(path).name == "sub":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return listed(path)

        return refuse

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(UserError, match=r"sub: the folder cannot be listed: Permission denied"):
        ImageFolder([tmp_path])
    with pytest.raises(UserError, match=r"sub: the folder cannot be listed: Permission denied"):
        ImageTree(tmp_path).find("sub/b")


def test_broken_image_is_one_sample_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 and no more")
    with pytest.raises(SampleError) as caught:
        ImageFolder([tmp_path]).load(0)
    assert (caught.value.image_id, caught.value.path) == ("a", tmp_path / "a.jpg")


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    paint(*(tmp_path / "clip" / f"{frame}.jpg" for frame in range(20)))
    listed: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(str(folder)) or listdir(folder))
    tree = ImageTree(tmp_path)
    assert tree.ids_in("clip") == [f"clip/{frame}" for frame in range(20)]
    assert all(len(tree.find(image_id)) == 1 for image_id in tree.ids_in("clip"))
    assert tree.find("clip/99") == []
    assert listed == [str(tmp_path / "clip")]


def test_pipes_and_devices_are_passed_over(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d.jpg").symlink_to(tmp_path / "gone")  # named when it is read
    folder = ImageFolder([tmp_path])
    assert folder.ids == ["a", "d"]
    assert {path.name for path in folder.unread} == {"b.jpg", "c.png"}
    with pytest.raises(UserError, match="a pipe, a device or a socket"):
        ImageFolder([tmp_path / "b.jpg"])


@pytest.mark.parametrize("suffix", ["jpe", "j2k", "dib", "tga", "pnm", "ppm", "jfif"])
def test_kinds_of_photographs_are_read(tmp_path: Path, suffix: str) -> None:
    kinds = {"jpe": "JPEG", "jfif": "JPEG", "j2k": "JPEG2000", "dib": "DIB", "tga": "TGA", "pnm": "PPM", "ppm": "PPM"}
    Image.new("RGB", (4, 3), (200, 100, 50)).save(tmp_path / f"a.{suffix}", kinds[suffix])
    folder = ImageFolder([tmp_path])
    assert np.abs(folder.load(0).image.astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("suffix", ["exr", "jxl", "nef", "srw", "x3f"])
def test_kinds_that_nobody_here_reads_are_counted(tmp_path: Path, suffix: str) -> None:
    paint(tmp_path / "a.jpg")
    (tmp_path / f"b.{suffix}").write_bytes(b"pixels")
    assert [path.suffix for path in ImageFolder([tmp_path]).unread] == [f".{suffix}"]


@pytest.mark.skipif(".heic" in IMAGE_SUFFIXES, reason="pillow-heif is installed")
def test_a_folder_of_heic_photographs_names_what_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"pixels")
    with pytest.raises(UserError, match=r"pip install pillow-heif reads .heic"):
        ImageFolder([tmp_path])
