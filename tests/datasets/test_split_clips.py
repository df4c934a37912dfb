"""Clips of a split: which there are, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.loading import Images, open_images
from tests.helpers.clips import write_frames
from utils.cli.parsers import parse
from utils.distributed import Session
from utils.errors import SampleError, UserError
from utils.structures import Frame

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the test photographs are not here")
ALONE = Session()


def test_demo_clip_with_its_truth(capsys: pytest.CaptureFixture[str]) -> None:
    options = parse("evaluate", None, ["-c", str(REPOSITORY / "config.json"), "--video", "-b", "16"])
    images = open_images(options, ALONE)
    assert "--video: images of the split val that lie in no clip, left out: 40" in capsys.readouterr().out
    count = len(list((REPOSITORY / "datasets/demo/JPEGImages/val_clip_000").iterdir()))
    assert [*images.units] == [range(count)]
    samples = [sample for batch in images.batches() for sample in batch]
    assert [sample.frame for sample in samples] == [Frame("val_clip_000", i, count) for i in range(count)]
    whole = open_images(parse("evaluate", None, ["-c", str(REPOSITORY / "config.json")]), ALONE)
    alone = {sample.image_id: sample for batch in whole.batches() for sample in batch}
    for sample in samples[::10]:
        expected = alone[sample.image_id]
        assert sample.has_instance_ids == expected.has_instance_ids
        assert len(sample.gt_instances) == len(expected.gt_instances) > 0
        np.testing.assert_array_equal(sample.image, expected.image)
        np.testing.assert_array_equal(sample.gt_mask, expected.gt_mask)


@needs_photos
@pytest.mark.parametrize(("name", "clips"), [("davis", [40, 15, 20]), ("camvid_video", [5]), ("labelme_video", [5])])
def test_real_clips(name: str, clips: list[int], tmp_path: Path) -> None:
    settings = [f"dataset.data_dir={SHARED / name}", f"dataset.classes={SHARED / name / 'class_names.txt'}"]
    given = ["-c", str(REPOSITORY / "config.json"), "--video", *(part for each in settings for part in ("--set", each))]
    images = open_images(parse("evaluate", None, given), ALONE)
    assert [len(unit) for unit in images.units] == clips
    first = next(iter(images.batches()))
    assert [sample.frame.index for sample in first] == list(range(min(16, clips[0])))
    assert all(sample.gt_mask is not None and sample.gt_instances is not None for sample in first)


class Tree:
    """A VOC tree of one listed photo and whatever clips are named."""

    def __init__(self, root: Path, listed: str, clips: str | None) -> None:
        self.root = root
        write_frames(root / "JPEGImages", [0], "photo.png")
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text(listed)
        if clips is not None:
            (lists / "val_videos.txt").write_text(clips)

    def images(self, *more: str) -> Images:
        given = ["-c", str(REPOSITORY / "config.json"), "--set", f"dataset.data_dir={self.root}", *more]
        return open_images(parse("visual", None, given), ALONE)


def test_frames_that_are_listed_but_missing_keep_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Tree(tmp_path, "photo\nclip/11\nclip/2\nclip/10\n", "clip\nempty\ngone\n")
    write_frames(tmp_path / "JPEGImages" / "clip", [2, 9, 11])
    (tmp_path / "JPEGImages" / "empty").mkdir()
    entries = [entry for batch in tree.images("--video").batches() for entry in batch]
    assert [getattr(entry, "frame", None) for entry in entries] == [
        *(Frame("clip", 0, 4), Frame("clip", 1, 4), None, Frame("clip", 3, 4)),
        *(None, None),
    ]
    assert [str(entry) for entry in entries if isinstance(entry, SampleError)] == [
        f"{tmp_path / 'JPEGImages/clip/10.*'}: No such file or directory",
        f"{tmp_path / 'JPEGImages/empty'}: the folder holds no frames",
        f"{tmp_path / 'JPEGImages/gone/000000.*'}: No such file or directory",
    ]
    said = capsys.readouterr()
    assert said.out == "--video: images of the split val that lie in no clip, left out: 1\n"
    assert said.err.startswith("warning: 3 of 6 images are missing: ")
    with pytest.raises(UserError, match="holds no frames"):
        tree.images()


@pytest.mark.parametrize("clips", [None, "\n"])
def test_split_without_clips_is_refused(tmp_path: Path, clips: str | None) -> None:
    tree = Tree(tmp_path, "photo\n", clips)
    with pytest.raises(UserError, match=r"val_videos\.txt: names no clip, and --video takes nothing else$"):
        tree.images("--video")


def test_masks_of_clips_are_checked(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "photo\n", "clip\n")
    write_frames(tmp_path / "JPEGImages" / "clip", [1, 2])
    (tmp_path / "SegmentationClass" / "clip").mkdir(parents=True)
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / "SegmentationClass" / "clip" / "1.png")
    with pytest.raises(UserError, match=r"SegmentationClass/clip/2\.png: No such file") as caught:
        tree.images("--video", "--boxes", "target")
    assert "photo" not in str(caught.value)
