"""Where outputs go: what cannot work is found before anything is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from utils.cli.options import Options, Output
from utils.cli.outputs import check_overlays, check_writable, picture_folders
from utils.config import AutoMaskConfig, Config, EvaluatorConfig, PredictorConfig
from utils.errors import UserError


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., Options]:
    """Those of a run whose evaluation goes to a folder, all else to one that can be made."""

    def chosen(folder: Path, *outputs: Output) -> Options:
        other = tmp_path / "other"
        config = Config(
            evaluator=EvaluatorConfig(folder), predictor=PredictorConfig(other), auto_mask=AutoMaskConfig(other)
        )
        return Options(config, outputs, (), None, "cpu", False)

    return chosen


def test_what_can_be_written_leaves_nothing_behind(tmp_path: Path, options: Callable[..., Options]) -> None:
    check_writable(options(tmp_path, "evaluate"))
    check_writable(options(tmp_path / "deep" / "er", "evaluate", "visual", "annotate"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["file", "file/below", "file/deep/below", "link"])
def test_only_folders_of_wanted_outputs_are_looked_at_and_named(
    tmp_path: Path, options: Callable[..., Options], place: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    wanted = options(tmp_path / place, "visual", "evaluate")
    with pytest.raises(UserError) as caught:
        check_writable(wanted)
    _, line = str(caught.value).splitlines()
    assert line.strip().startswith(f"evaluator.save_dir: {tmp_path / place}: no file can be made in {tmp_path}/")
    check_writable(options(tmp_path / place, "annotate"))


def test_a_read_only_folder_is_refused(
    tmp_path: Path, options: Callable[..., Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: Any, *arguments: Any, **more: Any) -> int:
        if Path(path).is_relative_to(tmp_path):
            raise OSError(30, "Read-only file system")
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)  # permissions would not stop a test that root runs
    with pytest.raises(UserError, match=r"no file can be made in .*: Read-only file system"):
        check_writable(options(tmp_path / "out", "evaluate"))


def test_folders_of_formats_are_known_by_the_config_or_by_what_a_run_left(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    (out / "voc" / ".records").mkdir(parents=True)
    (out / "coco").mkdir()  # somebody's photos
    config = Config(
        predictor=PredictorConfig(out / "overlays"), auto_mask=AutoMaskConfig(out, formats=("labelme", "yolo"))
    )
    assert picture_folders(config) == [out / "overlays", out / "yolo", out / "voc"]


def test_overlays_that_would_replace_the_frames_of_videos_are_refused(tmp_path: Path) -> None:
    config = Config(predictor=PredictorConfig(tmp_path, format="jpg"), auto_mask=AutoMaskConfig(tmp_path))
    options = Options(config, ("annotate", "visual"), (), None, "cpu", False, video=True)
    ids, paths = ["clip/0", "clip/1"], [tmp_path / "clip.mp4"] * 2
    with pytest.raises(UserError, match="would replace the frames of videos that annotating writes") as caught:
        check_overlays(options, ids, paths)
    assert str(caught.value).splitlines()[1:] == [f"  {tmp_path}/clip/{i}.jpg" for i in range(2)]
    check_overlays(replace(options, outputs=("visual",)), ids, paths)
    check_overlays(options, ids, [tmp_path / f"clip/{i}.png" for i in range(2)])
    others = PredictorConfig(tmp_path, format="png"), PredictorConfig(tmp_path / "overlays", format="jpg")
    for predictor in others:
        check_overlays(replace(options, config=replace(config, predictor=predictor)), ids, paths)
