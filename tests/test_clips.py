"""Runs over clips, with a cascade drawn by chance: what is computed again, what is named, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.loading import open_images
from models.loading import RunModels
from tests.helpers.clips import painted, write_frames, write_video
from tests.helpers.project import BATCH, COUNT, Project
from utils.cli.parsers import parse
from utils.distributed import Session
from utils.errors import UserError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.settings["auto_mask"]["formats"] = ["labelme"]
    return project


ROOT = [f"photos/{i}" for i in range(COUNT) if i % 3 != 2]
CLIP = [f"photos/clip/{i}" for i in range(2, COUNT, 3)]


def test_a_clip_with_one_unfinished_frame_is_computed_again_whole(project: Project) -> None:
    assert len(ROOT) > BATCH
    assert project.run("--video") == 0
    assert project.seen == [*ROOT, *CLIP]
    first = project.labelme(ROOT[-1]).read_bytes()
    assert project.run("--video") == 0
    assert project.seen is None
    project.labelme(ROOT[-1]).unlink()
    assert project.run("--video") == 0
    assert project.seen == ROOT
    assert project.labelme(ROOT[-1]).read_bytes() == first


def test_broken_frames_and_clips_are_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.photos / "empty").mkdir()
    (project.photos / "torn.mp4").write_bytes(b"no video")
    (project.photos / "clip" / "5.png").write_bytes(b"no image")
    assert project.run("--video") == 1
    whole = ["photos/clip/2", "photos/clip/8"]
    assert project.seen == [*ROOT, *whole]
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in failed] == [
        str(project.photos / name) for name in ("clip/5.png", "empty", "torn.mp4")
    ]
    assert [name for name in [*ROOT, *CLIP] if project.labelme(name).exists()] == [*ROOT, *whole]
    # Whether the frame can be read now shows only when it is read, and then all before it must have been computed.
    assert project.run("--video") == 1
    assert project.seen == whole


def test_prompts_join_frames_by_their_ids(project: Project) -> None:
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    rows = [
        {"image_id": image_id, "category_id": 3, "bbox": [1, 2, left, 20], "score": 0.9}
        for image_id, left in [("photos/clip/5", 9), ("photos/film/000001", 8), ("clip/5", 7)]
    ]
    (project.folder / "prompt.json").write_text(json.dumps(rows))
    given = project.arguments("--video", "-p", str(project.folder / "prompt.json"))
    options = parse("annotate", None, given)
    images = open_images(options, Session())
    prompts = RunModels(options, images, Session()).prompts
    assert prompts is not None
    found = {image_id: prompts.for_image(image_id, (24, 32))[0].tolist() for image_id in images.ids}
    assert {image_id: boxes for image_id, boxes in found.items() if boxes} == {
        "photos/clip/5": [[1, 2, 9, 20]],
        "photos/film/000001": [[1, 2, 8, 20]],
    }


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("gone", ["--video"], "no such file or folder"),
        ("config.json", ["--video"], "no clip here"),
        ("film.mp4", [], "no image here, but video; --video takes it"),
    ],
)
def test_wrong_use_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], source: str, options: list[str], message: str
) -> None:
    write_video(project.folder / "film.mp4", [painted(0)])
    project.photos = project.folder / source
    project.arguments()  # writes the config, which is no clip
    assert project.run(*options) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {project.folder / source}: {message}")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "folder", "replaced"),
    [(["--video"], ".", "photos/film.mp4"), (["--video"], "photos", None), ([], "photos", "photos/0.png")],
)
def test_overlays_that_would_replace_what_they_show_are_refused(
    project: Project, options: list[str], folder: str, replaced: str | None
) -> None:
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    look = [f"predictor.save_dir={project.folder / folder}", f"predictor.format={'mp4' if options else 'png'}"]
    chosen = parse("visual", None, project.arguments(*options, *(f"--set={each}" for each in look)))
    if replaced is None:  # a film of photos/film would be photos/photos/film.mp4
        open_images(chosen, Session())
        return
    with pytest.raises(UserError, match=rf"predictor\.save_dir: .*\n  {project.folder / replaced}"):
        open_images(chosen, Session())


@pytest.mark.parametrize("look", ["jpg", "mp4"])
def test_overlays_that_lie_among_the_clips_are_not_replaced(project: Project, look: str) -> None:
    """A source that holds images itself gives its name to its clips, so overlays there are further clips."""
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    project.settings["predictor"] = {"save_dir": "photos", "format": look}
    chosen = parse("visual", None, project.arguments("--video"))
    open_images(chosen, Session())
    pictures, films = write_frames(project.photos / "photos", [0], "0.jpg"), [painted(0)]
    made = pictures / "0.jpg" if look == "jpg" else write_video(pictures / "film.mp4", films)
    with pytest.raises(UserError, match=rf"replace images or masks; choose another folder:\n  {made}$"):
        open_images(chosen, Session())


@pytest.mark.parametrize(
    ("formats", "annotations", "overlays", "replaced"),
    [
        (["labelme"], "out/film", "out/film", "out/film/photos/film/000000.jpg"),
        (["yolo", "coco"], "out", "link", "out/photos/film/000000.jpg"),
        (["yolo"], "out", "out/yolo/images", "out/yolo/images/photos/film/000000.jpg"),
        (["yolo"], "out", "out", None),
        (["labelme"], "out", "out/overlays", None),
    ],
)
def test_overlays_that_would_replace_frames_of_videos_are_refused(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    formats: list[str],
    annotations: str,
    overlays: str,
    replaced: str | None,
) -> None:
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    project.out.mkdir()
    (project.folder / "link").symlink_to(project.out)
    project.settings["auto_mask"] = {"save_dir": annotations, "formats": formats}
    project.settings["predictor"] = {"save_dir": overlays}
    assert project.run("--video", "--also", "visual") == (2 if replaced else 0)
    error = capsys.readouterr().err
    assert (f"\n  {project.folder / replaced}\n" in error) if replaced else ("error" not in error)
    assert project.run("--video") == 0, "without overlays, nothing is replaced"


@pytest.mark.parametrize("folder", ["in", "in/deep/er"])
def test_frames_of_videos_are_not_written_among_the_clips(
    project: Project, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    project.photos = project.folder / "in"
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    project.settings["auto_mask"] = {"save_dir": folder, "formats": ["yolo"]}
    assert project.run("--video") == 2
    assert f"further clips of {project.photos}; choose a folder outside it" in capsys.readouterr().err


def test_pictures_of_frames_are_no_annotations_that_a_person_edited(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(project.out / "photos", [0], "{}.jpg")
    write_video(project.photos / "film.mp4", [painted(0), painted(1)])
    for _ in range(2):
        assert project.run("--video") == 0
        assert "kept" not in capsys.readouterr().out
