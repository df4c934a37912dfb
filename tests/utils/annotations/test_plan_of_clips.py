"""Annotating clips again: a clip is done whole or not at all, and what decides one of its frames decides all."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import utils.annotations.fingerprint
from tests.helpers.clips import instances
from tests.helpers.project import tree
from utils.annotations.plan import plan_annotations
from utils.cli.options import Options
from utils.config import ArchConfig, AutoMaskConfig, Config, DatasetConfig, VideoConfig
from utils.distributed import Session
from utils.engine import run_loop
from utils.errors import SampleError
from utils.io.writers import Writers
from utils.structures import Frame, Instances, Sample

NAMES = ("dog", "cat")
SIZE = (192, 256)
COUNTS = {"a": 4, "b": 3, "film": 5}
BATCH = 2


class Clips:
    """Two folders of frames and a video file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bad = folder, set[str]()
        self.frames = [(clip, i) for clip, count in COUNTS.items() for i in range(count)]
        self.ids = [f"{clip}/{i:06}" for clip, i in self.frames]
        self.paths = [folder / ("film.mp4" if clip == "film" else f"{clip}/{i:06}.png") for clip, i in self.frames]
        for path in self.paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(path.name.encode())
        self.units: Sequence[range] = [range(4), range(4, 7), range(7, 12)]

    def batches(self, units: Sequence[range]) -> Batches:
        return Batches(self, units)

    def load(self, position: int) -> Sample | SampleError:
        (clip, i), image_id, path = self.frames[position], self.ids[position], self.paths[position]
        if image_id in self.bad:
            return SampleError(image_id, path, "no picture")
        image = np.full((*SIZE, 3), len(path.read_bytes()), np.uint8)
        return Sample(image_id, path, image, frame=Frame(clip, i, COUNTS[clip]))


class Batches:
    """Some of the clips, two frames of one at most at a time."""

    def __init__(self, clips: Clips, units: Sequence[range]) -> None:
        self.ids, self._clips, self._units = clips.ids, clips, units

    @property
    def num_images(self) -> int:
        return sum(map(len, self._units))

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        for unit in self._units:
            for start in range(0, len(unit), BATCH):
                yield [self._clips.load(i) for i in unit[start : start + BATCH]]


class Tracker:
    """A cascade whose instances depend on all frames of the clip so far, and on the boxes that each was given."""

    def __init__(self, boxes: Boxes) -> None:
        self.seen: list[str] = []
        self._boxes, self._clip, self._state = boxes, "", 0

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        for sample in samples:
            assert sample.frame is not None
            if sample.frame.clip != self._clip:
                assert sample.frame.index in (0, 1), "it begins at the beginning"
                self._clip, self._state = sample.frame.clip, 0
            self._state = zlib.crc32(sample.image.tobytes() + self._boxes.content(sample.image_id), self._state)
            self.seen.append(sample.image_id)
            yield sample, instances(self._state % 40, [1, 2], [0, self._state % 2])

    def summary_lines(self, session: Session) -> list[str]:
        return []


class Boxes:
    """Prompts as the plan sees them."""

    def __init__(self) -> None:
        self.of: dict[str, bytes] = {}

    def content(self, image_id: str) -> bytes:
        return self.of.get(image_id, b"")


class Annotating:
    """Runs over the clips into one folder."""

    def __init__(self, folder: Path) -> None:
        self.out, self.boxes, self.images = folder / "out", Boxes(), Clips(folder / "clips")
        for name in ("yolo.pt", "sam.pt", "sam.yaml"):
            (folder / name).write_text(name)
        arch = ArchConfig("yolov8", folder / "yolo.pt", "sam2", str(folder / "sam.yaml"), folder / "sam.pt")
        formats = ("labelme", "labelme-polygon", "coco", "yolo", "voc")
        config = Config(arch=arch, dataset=DatasetConfig(classes=NAMES), auto_mask=AutoMaskConfig(self.out, formats))
        self.options = Options(config, ("annotate",), (), None, "cpu", False, video=True)

    def run(self) -> tuple[list[str], int]:
        """The clips that were computed, and the exit code."""
        tracker, session = Tracker(self.boxes), Session()
        with Writers(2) as writers:
            plan = plan_annotations(self.options, self.images, self.boxes, session)  # type: ignore[arg-type]
            if plan.nothing_to_do:
                return [], 0
            batches = self.images.batches(plan.units)
            report = run_loop(plan.skip_finished(tracker), batches, plan.sinks(NAMES, writers), session)
        clips = list(dict.fromkeys(image_id.split("/")[0] for image_id in tracker.seen))
        expected = sum(COUNTS[clip] for clip in clips) - len([i for i in self.images.bad if i.split("/")[0] in clips])
        assert len(tracker.seen) == expected, "clips are done whole"
        return clips, report.exit_code


@pytest.fixture
def project(tmp_path: Path) -> Annotating:
    return Annotating(tmp_path)


@pytest.fixture
def done(project: Annotating) -> Annotating:
    assert project.run() == (["a", "b", "film"], 0)
    assert project.run() == ([], 0)
    return project


def clean(done: Annotating) -> dict[str, Any]:
    """What a run into an empty folder writes."""
    done.out.rename(done.out.with_name("before"))
    assert done.run()[0] == ["a", "b", "film"]
    made = tree(done.out)
    done.out.rename(done.out.with_name("clean"))
    done.out.with_name("before").rename(done.out)
    return made


@pytest.mark.parametrize(
    "name, clip",
    [
        ("a/000002.json", "a"),
        ("labelme-polygon/b/000000.json", "b"),
        ("film/000003.jpg", "film"),
        ("film/000003.json", "film"),
        ("yolo/images/film/000001.jpg", "film"),
        ("voc/SegmentationObject/a/000001.png", "a"),
        ("coco/.records/b/000002.json", "b"),
    ],
)
def test_a_clip_with_one_unfinished_frame_is_done_whole_and_alone(name: str, clip: str, done: Annotating) -> None:
    before = tree(done.out)
    (done.out / name).unlink()
    assert done.run() == ([clip], 0)
    assert tree(done.out) == before


def test_a_persons_corrections_stay(done: Annotating) -> None:
    path = done.out / "film/000002.json"
    content = json.loads(path.read_text())
    content["shapes"] = content["shapes"][1:]
    path.write_text(json.dumps(content))
    edited = path.read_bytes()
    assert done.run() == ([], 0)
    (done.out / "film/000004.json").unlink()
    assert done.run() == (["film"], 0)
    assert path.read_bytes() == edited


@pytest.mark.parametrize("name, clip", [("a/000001.png", "a"), ("film.mp4", "film")])
def test_another_picture_in_a_clip_redoes_all_of_it(name: str, clip: str, done: Annotating) -> None:
    before = tree(done.out)
    (done.images.folder / name).write_bytes(b"another picture")
    assert done.run() == ([clip], 0)
    after = tree(done.out)
    assert after == clean(done)
    last = f"{clip}/{COUNTS[clip] - 1:06}"
    assert after[f"{last}.json"] != before[f"{last}.json"]
    assert (after["film/000000.jpg"] == before["film/000000.jpg"]) == (clip != "film")


def test_other_boxes_of_a_frame_change_those_that_follow(done: Annotating) -> None:
    done.boxes.of["b/000000"] = b"a box"
    assert done.run() == (["b"], 0)
    assert tree(done.out) == clean(done)


def test_a_frame_that_cannot_be_used_is_missing_until_it_can(project: Annotating) -> None:
    project.images.bad = {"a/000001"}
    assert project.run() == (["a", "b", "film"], 1)
    assert not (project.out / "a/000001.json").exists()
    assert project.run() == (["a"], 1)
    project.images.bad = set()
    (project.images.folder / "a/000001.png").write_bytes(b"mended")
    assert project.run() == (["a"], 0)
    assert tree(project.out) == clean(project)


def test_settings_of_video_count_with_video_only(done: Annotating) -> None:
    config = done.options.config
    done.options = replace(done.options, config=replace(config, video=VideoConfig(keyframe_interval=2)))
    assert done.run()[0] == ["a", "b", "film"]
    assert done.run()[0] == []


def test_the_mark_of_a_video_is_found_once(done: Annotating, monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[str] = []
    real = utils.annotations.fingerprint.file_signature

    def counted(path: Path) -> str:
        marked.append(path.name)
        return real(path)

    monkeypatch.setattr(utils.annotations.fingerprint, "file_signature", counted)
    assert done.run() == ([], 0)
    assert not marked, "the index knows it"
    for index in done.out.rglob("*.index"):
        shutil.rmtree(index)
    assert done.run() == ([], 0)
    assert 1 <= marked.count("film.mp4") <= 16, "at most once a thread, not once a frame and format"


def test_coco_is_in_the_order_of_the_run_whatever_was_redone(done: Annotating) -> None:
    before = (done.out / "coco/instances.json").read_bytes()
    for name in ("coco/.records/a/000001.json", "coco/instances.json"):
        (done.out / name).unlink()
    assert done.run() == (["a"], 0)
    assert (done.out / "coco/instances.json").read_bytes() == before
    content = json.loads(before)
    assert [video["name"] for video in content["videos"]] == ["a", "b", "film"]
    assert [track["id"] for track in content["tracks"]] == [1, 2, 3, 4, 5, 6]


def test_frames_are_told_and_yolo_needs_none(project: Annotating, capsys: pytest.CaptureFixture[str]) -> None:
    config = project.options.config
    only = replace(config.auto_mask, formats=("yolo",))
    project.options = replace(project.options, config=replace(config, auto_mask=only))
    project.run()
    assert not (project.out / "film").exists()
    assert "frames:" not in capsys.readouterr().out
    project.options = replace(project.options, config=config)
    project.run()
    assert f"frames: 5 images of frames of videos in {project.out}" in capsys.readouterr().out
