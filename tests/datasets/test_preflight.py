from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from datasets import preflight
from datasets.preflight import check_split, missing_warnings
from datasets.voc import VocDataset
from utils.classes import VOID, palette
from utils.distributed import Session
from utils.errors import SampleError, UserError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the test photographs are not here")

GOOD = np.array([[0, 1, 2, 255], [0, 0, 0, 0], [2, 2, 2, 2]], np.uint8)


def exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


class Split:
    """A split under construction; images are 4 wide and 3 high."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ids: list[str] = []
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True)

    def add(self, mask: np.ndarray | Image.Image | None, **options: object) -> None:
        image_id = f"i{len(self.ids)}"
        self.ids.append(image_id)
        Image.new("RGB", (4, 3)).save(self.root / "JPEGImages" / f"{image_id}.jpg", **options)
        if mask is not None:
            picture = Image.fromarray(mask) if isinstance(mask, np.ndarray) else mask
            picture.save(self.root / "SegmentationClass" / f"{image_id}.png")

    def check(
        self,
        num_classes: int | None = 2,
        label_map: dict[int, int] | None = None,
        with_gt_masks: bool = True,
        with_gt_instances: bool = True,
        **more: Any,
    ) -> VocDataset:
        (self.root / "ImageSets/Segmentation/val.txt").write_text("\n".join(self.ids))
        dataset = VocDataset(self.root, "val", label_map, None, with_gt_masks, with_gt_instances)
        check_split(dataset, num_classes, Session(), **more)
        return dataset


@pytest.fixture
def split(tmp_path: Path) -> Split:
    split = Split(tmp_path)
    split.add(GOOD)
    return split


def test_masks_for_display_may_be_missing_but_not_wrong(split: Split) -> None:
    split.add(None)
    split.check(with_gt_instances=False)
    shown = VocDataset(split.root, "val", with_gt_masks=True)
    assert [shown.load(index).gt_mask is None for index in range(2)] == [False, True]
    split.add(np.full((3, 4), 9, np.uint8))
    with pytest.raises(UserError, match=r"i2\.png: value 9"):
        split.check(with_gt_instances=False)
    with pytest.raises(UserError, match=r"i1\.png: "):
        split.check()


@needs_photos
@pytest.mark.parametrize(("name", "num_classes"), [("voc", 20), ("coco", 20), ("davis", 20), ("labelme_video", 2)])
def test_real_masks_pass(name: str, num_classes: int) -> None:
    check_split(VocDataset(SHARED / name, "val", with_gt_masks=True, with_gt_instances=True), num_classes, Session())


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (None, "No such file"),
        (np.zeros((4, 3), np.uint8), "the mask has 3x4 pixels, its upright image 4x3"),
        (np.where(GOOD == 255, 9, GOOD), r"value 9 \(x 3, y 0\) is outside 0 to 2, and not 255"),
        (np.repeat(GOOD[:, :, None], 3, axis=2), r"its mode is RGB, .*; save each pixel's label"),
        (Image.new("1", (4, 3)), "its mode is 1,"),
        (Image.fromarray(GOOD.astype(np.uint16)), r"its mode is I;16, .*; save each pixel's label, as 8 bits"),
    ],
    ids=["missing", "misfit", "value", "rgb", "bilevel", "16 bits"],
)
def test_bad_mask_is_refused_by_name(split: Split, mask: np.ndarray | Image.Image | None, problem: str) -> None:
    split.add(mask)
    with pytest.raises(UserError, match=rf"SegmentationClass.i1\.png: .*{problem}") as caught:
        split.check()
    assert "i0" not in str(caught.value)


def test_broken_mask_is_refused(split: Split) -> None:
    path = split.root / "SegmentationClass" / "i0.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"i0\.png: "):
        split.check()


def test_all_problems_are_counted_and_ten_are_named(split: Split) -> None:
    for _ in range(13):
        split.add(None)
    with pytest.raises(UserError) as caught:
        split.check()
    assert str(caught.value).count("No such file") == 10
    assert "\n    ... and 3 more" in str(caught.value)


@pytest.mark.parametrize(("value", "accepted"), [(2, True), (3, False), (254, False), (255, True)])
def test_values_up_to_the_last_class_and_void_are_labels(split: Split, value: int, accepted: bool) -> None:
    split.add(np.full((3, 4), value, np.uint8))
    if accepted:
        split.check()
    else:
        with pytest.raises(UserError, match=f"value {value} "):
            split.check()


def test_label_map_comes_first(split: Split) -> None:
    split.add(np.full((3, 4), 77, np.uint8))
    split.check(label_map={77: 2})


@pytest.mark.parametrize("values", [[0, 255], [255]])
def test_black_and_white_masks_are_refused_as_a_whole(tmp_path: Path, values: list[int]) -> None:
    split = Split(tmp_path)
    split.add(np.resize(np.array(values, np.uint8), (3, 4)))
    split.add(np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match=r"only 0 and 255.*label_map"):
        split.check(num_classes=1)
    split.check(num_classes=1, label_map={255: 1})
    split.add(GOOD)
    split.check()


def test_split_of_empty_images_passes(tmp_path: Path) -> None:
    split = Split(tmp_path)
    split.add(np.zeros((3, 4), np.uint8))
    split.check()


def test_missing_and_unreadable_images_are_left_to_the_run(split: Split) -> None:
    split.ids.append("gone")
    split.add(GOOD)
    (split.root / "JPEGImages" / f"{split.ids[-1]}.jpg").write_bytes(b"nothing")
    split.check()


def test_a_line_that_is_too_long_to_be_a_name_is_refused_by_its_number(split: Split) -> None:
    split.ids.append("i0 " * 100)
    with pytest.raises(UserError, match=r'line 2: the name "i0 i0 .* is longer than 255 bytes'):
        split.check()


def test_mask_fits_the_upright_image(split: Split) -> None:
    split.add(np.zeros((4, 3), np.uint8), exif=exif(6))
    split.check()
    split.add(np.zeros((3, 4), np.uint8), exif=exif(6))
    with pytest.raises(UserError, match="4x3 pixels, its upright image 3x4"):
        split.check()


def test_exif_behind_the_pixels_of_a_png_counts(split: Split) -> None:
    chunk = b"eXIf" + exif(6).tobytes().removeprefix(b"Exif\0\0")
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    body, end = stream.getvalue()[:-12], stream.getvalue()[-12:]
    split.add(np.zeros((4, 3), np.uint8))
    (split.root / "JPEGImages" / "i1.jpg").unlink()
    (split.root / "JPEGImages" / "i1.png").write_bytes(
        body + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end
    )
    split.check()


def test_a_mask_that_was_not_turned_with_its_image_is_described_as_such(split: Split) -> None:
    split.add(np.zeros((3, 4), np.uint8), exif=exif(8))
    split.add(np.zeros((2, 4), np.uint8), exif=exif(8))
    with pytest.raises(UserError) as caught:
        split.check()
    first, second = [line for line in str(caught.value).splitlines() if "pixels" in line]
    assert first.endswith("4x3 pixels, its upright image 3x4; the image's EXIF turns it, nothing has turned the mask")
    assert second.endswith("the mask has 4x2 pixels, its upright image 3x4")


def test_one_message_names_problems_of_every_kind(split: Split, tmp_path: Path) -> None:
    split.add(None)
    split.add(np.zeros((4, 3), np.uint8))
    split.add(np.full((3, 4), 9, np.uint8))
    split.ids += ["gone", "../outside"]
    (split.root / "JPEGImages" / "i0.png").write_bytes((split.root / "JPEGImages" / "i0.jpg").read_bytes())
    (split.root / "SegmentationObject").mkdir()
    Image.new("L", (5, 5)).save(split.root / "SegmentationObject" / "i3.png")
    (split.root / "ImageSets/Segmentation/val_videos.txt").write_text("clip")
    with pytest.raises(UserError) as caught:
        split.check(others={"annotations": ["a.json: wrong"]})
    message = str(caught.value)
    for problem in (
        "file names (3):",
        "val.txt: line 6: ../outside leads out of JPEGImages",
        "clip holds no frames",
        "i0: one id, several files",
        "i1.png: No such file",
        "i2.png: the mask has 3x4",
        "i3.png: value 9",
        "i3.png: the object map has 5x5 pixels, the label map 4x3",
        "gone.*",
        "annotations (1):",
    ):
        assert problem in message


def test_without_classes_only_headers_are_read(split: Split) -> None:
    split.add(np.full((3, 4), 9, np.uint8))
    path = split.root / "SegmentationClass" / "i1.png"
    path.write_bytes(path.read_bytes()[:-14])  # header and some of the pixels
    split.check(num_classes=None)
    with pytest.raises(UserError, match=r"i1\.png"):
        split.check()


def test_missing_images_alone_do_not_stop_a_run(split: Split) -> None:
    split.ids.append("gone")
    assert [*missing_warnings(split.check())] == [f"1 of 2 images are missing: {split.root / 'JPEGImages' / 'gone.*'}"]


def test_masks_that_are_not_needed_are_not_checked(split: Split) -> None:
    split.add(None)
    split.check(with_gt_masks=False, with_gt_instances=False)


def voc_colored(labels: np.ndarray, order: list[int]) -> Image.Image:
    """A mask whose colors are VOC's, and whose value of label `order[i]` is i."""
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[labels])
    picture.putpalette(palette(256)[order].tobytes())
    return picture


def test_a_palette_with_vocs_colors_elsewhere_is_warned_of_with_the_fix(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.array([[0, 1, 2, 2], [0, 0, 0, 0], [2, 2, 2, 2]], np.uint8)
    split.add(voc_colored(labels, [0, 1, 2]))
    split.check()
    assert capsys.readouterr().err == ""
    split.add(voc_colored(labels, [2, 0, 1]))
    split.check()
    error = capsys.readouterr().err
    assert "i2.png: the palette holds VOC's colors at other indices" in error
    assert (
        'value 0 has the color of label 2. If colors are meant, set dataset.label_map to {"0": 2, "1": 0, "2": 1}'
        in error
    )
    split.check(label_map={0: 2, 1: 0, 2: 1})
    assert capsys.readouterr().err == ""
    split.add(voc_colored(labels, [1, 2, 0]))
    split.check()
    assert "i2.png and 1 more: the palette" in (error := capsys.readouterr().err)
    assert "quantize(palette=p, dither=0)" in error


@pytest.mark.parametrize(("values", "told"), [((VOID, 0, 1), True), ((0, 1, 2), False)])
def test_masks_that_are_mostly_void_are_warned_of_with_the_map_for_a_background_of_255(
    split: Split, values: tuple[int, ...], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As tools write whose first class is 0: almost no pixel would count, and those that do as another class."""
    labels = np.array(values, np.uint8)[np.array([[0, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]])]
    split.ids.clear()
    split.add(labels)
    split.check()
    error = capsys.readouterr().err
    assert (
        "255 fills 75 % of the maps" in error and 'dataset.label_map to {"0": 1, "1": 2, "255": 0}' in error
    ) == told
    split.check(label_map={0: 1, 1: 2, 255: 0})
    assert capsys.readouterr().err == ""


def test_a_mask_with_the_content_of_a_jpeg_is_refused(split: Split) -> None:
    stream = io.BytesIO()
    Image.fromarray(GOOD).save(stream, "JPEG")
    (split.root / "SegmentationClass" / "i0.png").write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="its content is JPEG, which does not keep labels exactly; save it as PNG"):
        split.check()


def test_masks_behind_the_first_ones_are_named_when_they_are_loaded(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "CHECKED_FIRST", 1)
    wrong = GOOD.copy()
    wrong[1, 2] = 7
    for mask in (wrong, np.zeros((5, 5), np.uint8), None, GOOD):
        split.add(mask)
    split.check()
    dataset = VocDataset(split.root, "val", with_gt_masks=True, with_gt_instances=True)
    dataset.num_classes = 2
    reasons = {}
    for index in range(len(dataset)):
        try:
            dataset.load(index)
        except SampleError as error:
            reasons[index] = error.reason
    assert reasons == {
        1: "value 7 (x 2, y 1) is outside 0 to 2, and not 255 (void)",
        2: "the mask has 5x5 pixels, its upright image 4x3",
        3: "No such file or directory",
    }
