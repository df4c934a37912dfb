"""Splits in the files of all formats: ultralytics counts the images of YOLO datasets, pycocotools those of COCO."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pycocotools.coco import COCO

import yolo_sam
from models.ultralytics_quiet import quiet_ultralytics
from tests.helpers.project import COUNT, Project
from tests.helpers.read_back import read_back
from utils.annotations.splits import assign_splits, draw_splits
from utils.cli.options import Options
from utils.config import AutoMaskConfig, Config, DatasetConfig

SPLIT_FORMATS = ("yolo", "coco", "voc")


def loaded(folder: Path) -> dict[str, set[str]]:
    """The images of each split of a YOLO dataset, as ultralytics loads them before it trains."""
    quiet_ultralytics()
    from ultralytics.data import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(folder / "data.yaml", autodownload=False)
    splits = {}
    for split in ("train", "val", "test"):
        if data.get(split):
            dataset = YOLODataset(img_path=data[split], data=data, task="segment", augment=False)
            assert all(Path(label["im_file"]).exists() for label in dataset.labels)
            splits[split] = {os.path.relpath(label["im_file"], folder / "images") for label in dataset.labels}
    return splits


def in_coco(folder: Path) -> dict[str, set[str]]:
    found = {}
    for path in folder.glob("instances*.json"):
        images = COCO(str(path)).dataset["images"]
        found[path.stem.removeprefix("instances_")] = {image["file_name"] for image in images}
    return found


def in_voc(folder: Path) -> dict[str, set[str]]:
    lists = (folder / "ImageSets" / "Segmentation").glob("*.txt")
    return {path.stem: {f"{line}.png" for line in path.read_text().split()} for path in lists}


def move(project: Project, *folders: str) -> None:
    """Move the photos to these folders, in turn."""
    photos = sorted(path for path in project.photos.rglob("*.png"))
    for i, path in enumerate(photos):
        (project.photos / folders[i % len(folders)]).mkdir(parents=True, exist_ok=True)
        path.rename(project.photos / folders[i % len(folders)] / path.name)
    (project.photos / "clip").rmdir()


def run(project: Project, splits: dict[str, float] | None = None, *more: str) -> int:
    given = ["--set", f"auto_mask.splits={json.dumps(splits)}"] if splits else []
    return project.run("--format", *SPLIT_FORMATS, *given, *more)


@pytest.mark.parametrize(
    "folders",
    [
        {"train": "train", "val": "val", "test": "test"},
        {"images/train2017": "train", "images/val2017": "val"},
        {"train/images": "train", "valid/images": "val"},
    ],
)
def test_folders_of_splits_are_kept(folders: dict[str, str], project: Project) -> None:
    move(project, *folders)
    assert run(project) == 0
    photos = {path.relative_to(project.photos).as_posix() for path in project.photos.rglob("*.png")}
    expected = {split: {name for name in photos if name.startswith(at)} for at, split in folders.items()}
    assert in_coco(project.out / "coco") == in_voc(project.out / "voc") == expected
    escaped = {split: {name.replace("images/", "images_/") for name in names} for split, names in expected.items()}
    assert loaded(project.out / "yolo") == escaped
    assert {image_id for image_id, _ in read_back(project.out / "coco", project.settings["dataset"]["classes"])} == {
        name.removesuffix(".png") for name in photos
    }


def test_the_folders_of_a_split_may_be_the_sources(project: Project) -> None:
    move(project, "train", "val")
    arguments = project.arguments()[:2]
    sources = [str(project.photos / split) for split in ("train", "val")]
    project.arguments = lambda *more: [*arguments, "-s", *sources, *more]  # type: ignore[method-assign]
    assert run(project) == 0
    expected = {Path(source).name: {path.name for path in Path(source).iterdir()} for source in sources}
    assert loaded(project.out / "yolo") == in_coco(project.out / "coco") == in_voc(project.out / "voc") == expected


def test_a_folder_of_pictures_of_trains_is_no_split(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    move(project, "train", "car")
    assert run(project) == 0
    assert set(in_coco(project.out / "coco")) == {"instances"}
    assert (
        "yolo: train and val of data.yaml are the same images; auto_mask.splits divides them" in capsys.readouterr().out
    )


def test_photos_in_no_split_are_told_and_divided_if_that_is_asked_for(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    move(project, "train", "val", "new")
    assert run(project) == 0
    assert "splits: train 4, val 3, unassigned 3\n" in "".join(sorted_counts(capsys.readouterr().out))
    assert {split: len(names) for split, names in loaded(project.out / "yolo").items()} == {"train": 4, "val": 3}
    assert len(in_coco(project.out / "coco")["unassigned"]) == 3
    assert run(project, {"train": 0.5, "val": 0.5}) == 0
    assert project.seen is None, "splits need no model"
    assert sum(len(names) for names in loaded(project.out / "yolo").values()) == COUNT
    assert set(in_coco(project.out / "coco")) == set(in_voc(project.out / "voc")) == {"train", "val"}


def test_a_run_without_splits_names_the_lists_of_an_earlier_one_that_overlap_its_own(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, {"train": 0.8, "val": 0.2}) == 0
    assert "lists" not in capsys.readouterr().out
    assert run(project) == 0
    train = project.out / "voc" / "ImageSets" / "Segmentation" / "train.txt"
    assert f"voc: {train} lists 8 images of this run, too; remove it" in capsys.readouterr().out
    train.unlink()
    assert run(project) == 0
    assert " lists " not in capsys.readouterr().out


def sorted_counts(printed: str) -> list[str]:
    line = next(line for line in printed.splitlines() if line.startswith("splits: "))
    order = ("train", "val", "test", "unassigned")
    parts = sorted(line.removeprefix("splits: ").split(", "), key=lambda part: order.index(part.split()[0]))
    return [f"splits: {', '.join(parts)}\n"]


def test_shares_and_seed_draw_the_same_splits_for_all_formats_and_runs(project: Project) -> None:
    shares = {"train": 0.8, "val": 0.2}
    assert run(project) == 0
    assert run(project, shares) == 0
    assert project.seen is None
    first = loaded(project.out / "yolo")
    assert Counter({split: len(names) for split, names in first.items()}) == {"train": 8, "val": 2}
    assert in_coco(project.out / "coco") == in_voc(project.out / "voc") == first
    assert not (project.out / "coco" / "instances.json").exists(), "a file of all images would leak"
    assert run(project, shares) == 0
    assert loaded(project.out / "yolo") == first
    others = []
    for seed in range(1, 4):
        assert run(project, shares, "--set", f"auto_mask.split_seed={seed}") == 0
        others.append(loaded(project.out / "yolo"))
    assert any(other != first for other in others)
    assert run(project) == 0
    assert set(in_coco(project.out / "coco")) == {"instances"}
    assert not (project.out / "yolo" / "train.txt").exists()


@pytest.mark.parametrize("shares", [{"train": 0.8, "valid": 0.2}, {"Training": 0.8, "val2017": 0.2}])
def test_splits_are_called_what_their_folders_would_be_called(shares: dict[str, float], project: Project) -> None:
    assert run(project, {"train": 0.8, "val": 0.2}) == 0
    expected = loaded(project.out / "yolo")
    assert run(project, shares) == 0
    assert loaded(project.out / "yolo") == in_coco(project.out / "coco") == in_voc(project.out / "voc") == expected
    assert not expected["train"] & expected["val"]


@pytest.mark.parametrize("how", [["--video"], ["--set", "auto_mask.split_by=clip"]])
def test_no_clip_is_on_both_sides(how: list[str], project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    move(project, "a", "b", "c", "d")
    for seed in range(3):
        assert run(project, {"train": 0.5, "val": 0.5}, "--set", f"auto_mask.split_seed={seed}", *how) == 0
        splits = in_coco(project.out / "coco")
        clips = {split: {name.split("/")[0] for name in names} for split, names in splits.items()}
        assert clips["train"] and clips["val"] and not clips["train"] & clips["val"]
        assert loaded(project.out / "yolo") == splits
        assert {name for name in in_voc(project.out / "voc") if "videos" not in name} == {"train", "val"}
    assert "in several splits" not in capsys.readouterr().out


def test_outermost_folders_stay_whole_and_images_of_one_folder_on_two_sides_are_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    move(project, "patient1/a", "patient1/b", "patient2/a", "patient2/b")
    assert run(project, {"train": 0.5, "val": 0.5}, "--set", "auto_mask.split_by=folder") == 0
    splits = in_coco(project.out / "coco")
    assert [{name.split("/")[0] for name in splits[split]} for split in ("train", "val")] in (
        [{"patient1"}, {"patient2"}],
        [{"patient2"}, {"patient1"}],
    )
    capsys.readouterr()
    assert run(project, {"train": 0.5, "val": 0.5}) == 0
    said = capsys.readouterr().out
    assert "in several splits" in said and 'if they hold frames of clips, set auto_mask.split_by to "clip"' in said


def test_what_ultralytics_asks_for_is_named_where_a_split_is_missing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    move(project, "train", "test")
    assert run(project) == 0
    assert yaml.safe_load((project.out / "yolo" / "data.yaml").read_text())["val"] == "test.txt"
    found = loaded(project.out / "yolo")
    assert found["val"] == found["test"] and not found["train"] & found["test"]
    assert "yolo: val of data.yaml is test.txt, since no image is in val\n" in capsys.readouterr().out
    shutil.move(project.photos / "test", project.photos / "more")
    assert run(project, {"a": 0.5, "b": 0.5}) == 0
    assert "are the same images; none of the splits is train, val or test\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "splits, reason",
    [
        ({"train": 0.8, "val": 0.1}, "the shares add up to 0.9, not to 1"),
        ({"../train": 1.0}, "cannot be part of a file name"),
        ({"train": 1.0, "val": 0}, "is not above 0"),
        ({"train": "most"}, "auto_mask.splits"),
        ({"train": 0.8, "val": 0.1, "valid": 0.1}, "two of these names mean the same split"),
    ],
)
def test_impossible_splits_are_refused(
    splits: Any, reason: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, splits) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "groups, shares", [([1] * 1000, (0.8, 0.2)), ([100, 5], (0.8, 0.2)), ([3] * 7, (0.7, 0.2, 0.1))]
)
def test_every_split_gets_its_share_and_none_stays_empty(groups: list[int], shares: tuple[float, ...]) -> None:
    named, wanted = {f"g{i}": count for i, count in enumerate(groups)}, dict(zip(("train", "val", "test"), shares))
    for seed in range(20):
        drawn = draw_splits(named, wanted, seed)
        counts = Counter(split for group, split in drawn.items() for _ in range(named[group]))
        assert set(counts) == set(wanted)
        if max(groups) == 1:
            assert [counts[split] for split in wanted] == [share * 1000 for share in shares]


def test_groups_that_come_later_move_few_others() -> None:
    shares = {"train": 0.8, "val": 0.2}
    before = draw_splits({f"{i}": 1 for i in range(1000)}, shares, 0)
    after = draw_splits({f"{i}": 1 for i in range(1100)}, shares, 0)
    assert sum(after[group] != split for group, split in before.items()) < 30


def test_clips_that_a_tree_lists_are_never_divided(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val_videos.txt").write_text("".join(f"clip{i}\n" for i in range(6)))
    ids = [f"clip{i}/{k}" for i in range(6) for k in range(4)] + [f"stills/{i}" for i in range(8)]
    config = Config(
        dataset=DatasetConfig(data_dir=tmp_path), auto_mask=AutoMaskConfig(splits={"train": 0.5, "val": 0.5})
    )
    options = Options(config, ("annotate",), (), None, "cpu", False)
    images = SimpleNamespace(ids=ids, paths=[tmp_path / f"{image_id}.png" for image_id in ids], units=[])
    splits = assign_splits(options, images)  # type: ignore[arg-type]
    sides = {clip: {splits[i] for i in ids if i.startswith(clip)} for clip in {i.split("/")[0] for i in ids}}
    assert sides.pop("stills") == {"train", "val"}
    assert all(len(side) == 1 for side in sides.values())
    assert set().union(*sides.values()) == {"train", "val"}


def test_a_moved_folder_still_leads_to_its_photos(project: Project) -> None:
    assert run(project, {"train": 0.8, "val": 0.2}) == 0
    first = loaded(project.out / "yolo")
    moved = project.folder / "elsewhere" / "deeper"
    moved.parent.mkdir()
    shutil.move(project.out / "yolo", moved)
    assert loaded(moved) == first


@pytest.mark.parametrize("copies", [False, True])
def test_a_voc_tree_is_a_dataset_that_the_evaluator_takes(copies: bool, project: Project) -> None:
    """Its masks are exactly what the labelme files hold, also for photos of one stem and beside other outputs."""
    shutil.copy(project.photos / "0.png", project.photos / "0.bmp")
    given = ["--format", "labelme", "voc", "--set", f"auto_mask.copy_images={json.dumps(copies)}"]
    assert project.run(*given) == 0
    voc = project.out / "voc"
    photos = [*(voc / "JPEGImages").rglob("*.*")]
    assert (len(photos), {path.is_symlink() for path in photos}) == (COUNT + 1, {not copies})
    if copies:
        project.photos.rename(project.folder / "moved")
    config = ["-c", str(project.folder / "config.json"), "-o", str(project.folder / "checked")]
    assert yolo_sam.main([*config, "--data", str(voc), "-a", str(project.out)]) == 0
    metrics = json.loads((project.folder / "checked" / "evaluation" / "metrics.json").read_text())
    assert (metrics["images"], metrics["failed"], metrics["Mean_IOU"]) == (COUNT + 1, 0, 1)


def test_copies_need_no_photos_and_no_model(project: Project) -> None:
    assert run(project) == 0
    photos = [*(project.out / "yolo" / "images").rglob("*.png"), *(project.out / "voc" / "JPEGImages").rglob("*.png")]
    links = [path for path in photos if path.is_symlink()]
    assert len(links) == 2 * COUNT
    assert run(project, None, "--set", "auto_mask.copy_images=true") == 0
    assert project.seen is None
    assert not any(path.is_symlink() for path in links)
    assert {path.read_bytes() for path in links} == {path.read_bytes() for path in project.photos.rglob("*.png")}
    assert run(project, None, "--set", "auto_mask.copy_images=true", "--dry-run") == 0
    shutil.rmtree(project.photos)
    assert len(loaded(project.out / "yolo")["train"]) == COUNT
    fresh = Project(project.folder / "fresh")
    assert run(fresh, None, "--set", "auto_mask.copy_images=true") == 0
    assert not any(path.is_symlink() for path in (fresh.out / "yolo" / "images").rglob("*"))
