"""Reviewing annotations: limits, links to doubtful photos, and annotations whose photo is gone."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import labelme
import pytest

import yolo_sam_auto_anno_generator as script
from tests.helpers.project import Project, tree
from utils.cli.guard import guarded
from utils.config.official import REPOSITORY


def test_another_limit_flags_anew_without_the_models(done: Project, capsys: pytest.CaptureFixture[str]) -> None:
    edited = done.edit("0")
    limits = "auto_mask.review_below=0.5", "auto_mask.review_below=0.2", "auto_mask.review_below=null"
    for limit in limits:
        capsys.readouterr()
        assert done.run("--set", limit) == 0
        assert done.seen is None, "no model is even loaded"
        said = capsys.readouterr()
        assert "done, to be brought up to date without the models" in said.out
        assert "0 shapes" not in said.out
        assert said.err == "", "there is no progress to show"
        fresh = Project(done.folder / limit[-3:])
        assert fresh.run("--set", limit) == 0
        for image_id in done.ids()[1:]:
            for name in ("", "labelme-polygon"):
                ours, theirs = (json.loads((p.out / name / f"{image_id}.json").read_text()) for p in (done, fresh))
                assert ours["shapes"] == theirs["shapes"]
        tables = [list(csv.DictReader((p.out / "review.csv").open())) for p in (done, fresh)]
        ours, theirs = ({row.pop("image_id"): row for row in table} for table in tables)
        assert ours.pop("0") == {**theirs.pop("0"), "edited": "1"}
        assert ours == theirs
        assert done.run("--set", limit) == 0
        assert "brought up to date" not in capsys.readouterr().out
    assert done.labelme("0").read_bytes() == edited


def test_doubtful_photos_are_linked_and_labelme_is_told_how_to_open_them(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    def linked() -> set[str]:
        paths = [path for path in (project.out / "review").rglob("*") if path.is_symlink()]
        assert all(path.resolve() == project.photos / path.relative_to(project.out / "review") for path in paths)
        return {path.relative_to(project.out / "review").with_suffix("").as_posix() for path in paths}

    def doubtful() -> set[str]:
        rows = list(csv.DictReader((project.out / "review.csv").open()))
        return {row["image_id"] for row in rows if row["edited"] == "0" and float(row["doubt"]) > 0.5}

    assert project.run() == 0
    first = linked()
    assert first == doubtful() != set()
    printed = capsys.readouterr().out
    rest = (
        f" \\\n      --output {project.out / 'labelme-polygon'} \\\n      --labels {project.out / 'class_names.txt'}\n"
    )
    assert f":\n  labelme {project.out / 'review'}{rest}" in printed
    assert printed.endswith(f":\n  labelme {project.photos}{rest}")
    (project.out / "review" / "mine.txt").write_text("a note")
    edited = min(first)
    project.edit(edited)
    assert project.run() == 0
    assert project.seen is None
    assert linked() == doubtful() == first - {edited}
    assert (project.out / "review" / "mine.txt").read_text() == "a note"
    assert project.run("--format", "labelme") == 0
    assert "masks have no points to drag in labelme; --format labelme-polygon" in capsys.readouterr().out


def test_what_labelme_saves_from_the_review_folder_names_the_photo_again(done: Project) -> None:
    link = next(path for path in (done.out / "review" / "clip").iterdir())
    image_id, form = f"clip/{link.stem}", done.out / "labelme-polygon"
    path = form / f"{image_id}.json"
    saved = {**json.loads(path.read_text()), "shapes": [], "imagePath": os.path.relpath(link, path.parent)}
    path.write_text(json.dumps(saved))
    assert labelme.LabelFile(str(path)).image_data
    assert done.run() == 0
    assert not link.is_symlink(), "what a person edited is no longer doubtful"
    content = json.loads(path.read_text())
    assert (path.parent / content.pop("imagePath")).resolve() == done.photos / f"{image_id}.png"
    assert content.items() == {key: saved[key] for key in saved if key != "imagePath"}.items()


def test_a_file_with_a_nan_from_the_review_folder_stays_as_it_is(done: Project) -> None:
    link = next(path for path in (done.out / "review" / "clip").iterdir())
    path = done.out / "labelme-polygon" / f"clip/{link.stem}.json"
    saved = {**json.loads(path.read_text()), "imagePath": os.path.relpath(link, path.parent), "version": float("nan")}
    path.write_text(json.dumps({**saved, "shapes": []}))
    before = path.read_bytes()
    assert done.run() == 0
    assert path.read_bytes() == before


def test_links_that_a_killed_run_left_undone_are_made_by_the_next(project: Project) -> None:
    def no_links(*paths: object, **options: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("utils.annotations.review.atomic_link", no_links)
        assert project.run("--format", "labelme") == 130
    assert (project.out / "review.csv").exists()
    assert not list((project.out / "review").rglob("*.png"))
    assert project.run("--format", "labelme") == 0
    assert project.seen is None
    assert list((project.out / "review").rglob("*.png"))


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize("name", ["review", "review/clip"])
def test_no_link_to_a_photo_is_written_through_a_link(
    name: str, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, link = tmp_path / "elsewhere", project.out / name
    elsewhere.mkdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    assert project.run() == 2
    assert f"{link}: leads to {elsewhere}" in capsys.readouterr().err
    assert [*elsewhere.iterdir()] == []


def test_annotations_of_deleted_photos_are_told_and_pruned_unless_edited(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    done.edit("0")
    for name in ("0", "1", "clip/2"):
        (done.photos / f"{name}.png").unlink()
    before = tree(done.out)
    assert done.run("--dry-run", "--prune") == done.run("--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 annotations without photo, such as 1; --prune removes those that no person edited\n" in said
    assert "3 annotations without photo: 2 to be removed (1, clip/2), 1 edited and kept (0)\n" in said
    assert tree(done.out) == before
    left = [image_id for image_id in done.ids() if image_id not in ("0", "1", "clip/2")]
    assert done.run() == 0
    coco = json.loads((done.out / "coco" / "instances.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"{image_id}.png" for image_id in left]
    assert done.run("--prune", "--format", "labelme") == 0, "formats that the run does not write are pruned, too"
    assert "3 annotations without photo: 2 removed (1, clip/2), 1 edited and kept (0)\n" in capsys.readouterr().out
    names = {name.removesuffix(".png") for name in tree(done.out)}
    assert not [name for name in names if re.search(r"(^|/)1(\.|$)|clip/2(\.|$)", name)]
    assert {"0.json", "yolo/labels/0.txt", "voc/SegmentationClass/0"} <= names


def test_annotations_of_photos_that_have_another_id_now_are_told_and_pruned(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (done.photos / "1.jpg").write_bytes((done.photos / "0.png").read_bytes())  # its twin is 1.png from now on
    assert done.run("--prune", "--format", "labelme", "yolo") == 0
    assert (
        "1 annotation without photo, or of photos that have another id now: 1 removed (1)\n" in capsys.readouterr().out
    )
    assert sorted(path.name for path in (done.out / "yolo" / "images").glob("1.*")) == ["1.jpg.png", "1.png.png"]
    (done.photos / "1.jpg").unlink()
    assert done.run("--format", "labelme", "yolo") == 0
    told = "2 annotations without photo, or of photos that have another id now, such as 1.jpg; --prune removes"
    assert told in capsys.readouterr().out


def test_a_run_that_is_refused_for_its_weights_prunes_nothing(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (done.photos / "1.png").unlink()
    before, yolo = tree(done.out), REPOSITORY / "yolo" / "yolov8" / "demo.pt"
    wrong = done.arguments("--prune", "--device=cpu", "--set", f"arch.sam_weights={yolo}")
    assert guarded(lambda: script.main(wrong)) == 2
    assert "not SAM2's tensors" in capsys.readouterr().err
    assert tree(done.out) == before
    assert done.run("--prune") == 0
    assert {*before} > {*tree(done.out)}


def test_overlays_of_deleted_photos_are_told_and_pruned(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--also", "visual", "--set", "predictor.save_dir=" + str(project.folder / "masks")]
    masks = project.folder / "masks"
    assert project.run(*given) == 0
    (masks / "mine.jpg").write_bytes(b"a person's")
    for name in ("0", "1"):
        (project.photos / f"{name}.png").unlink()
    assert project.run(*given) == 0
    assert "overlays: 2 overlays without photo, such as 0.jpg; --prune removes them\n" in capsys.readouterr().out
    assert (masks / "0.jpg").exists()
    assert project.run(*given, "--prune") == 0
    assert "overlays: 2 overlays without photo, removed\n" in capsys.readouterr().out
    left = {path.relative_to(masks).with_suffix("").as_posix() for path in masks.rglob("*.jpg")}
    assert left == {*project.ids(), "mine"} - {"0", "1"}
    assert project.run(*given) == 0
    assert "without photo" not in capsys.readouterr().out


def test_a_file_that_was_broken_by_hand_is_named_with_its_place_and_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("--format", "labelme") == 0
    broken = project.labelme("1")
    broken.write_text('{"shapes": [\n  {,]}')
    project.edit("0")
    capsys.readouterr()
    assert project.run("--format", "labelme") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert [line.partition(": not JSON")[0] for line in said] == [f"warning: {broken}:2:4"]
    assert said[0].endswith("the file is kept: correct it there, or remove it to have it written anew")
    assert broken.read_text() == '{"shapes": [\n  {,]}'


@pytest.mark.parametrize("edited", [True, False])
def test_a_second_photo_of_one_stem_leaves_no_edited_file_unnamed(
    edited: bool, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("--format", "labelme") == 0
    before = project.edit("0") if edited else project.labelme("0").read_bytes()
    (project.photos / "0.bmp").write_bytes((project.photos / "0.png").read_bytes())
    capsys.readouterr()
    assert project.run("--format", "labelme") == 0
    error = capsys.readouterr().err
    assert ("what a person edited for 0 in" in error and "after 0.bmp and 0.png; rename" in error) == edited
    assert project.labelme("0").read_bytes() == before
    assert project.labelme("0.png").exists()


def test_outputs_of_another_run_among_the_photos_are_no_photos(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = ["--format", "labelme", "yolo", "voc"]
    assert project.run(*formats, "--also", "visual", "-o", str(project.photos / "first")) == 0
    assert project.run(*formats, "-o", str(project.folder / "second")) == 0
    assert project.seen is not None
    assert sorted(project.seen) == sorted(project.ids())
    (line,) = re.findall(r"in folders of outputs or label maps, left out: \d+ \((.*)\)", capsys.readouterr().out)
    first = project.photos / "first"
    names = ("annotations/review", "annotations/voc", "annotations/yolo", "masks")
    assert {*line.split(", ")} == {str(first / name) for name in names}


def test_photos_of_another_run_or_of_a_disk_that_is_away_are_not_deleted_ones(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (done.folder / "others").mkdir()
    shutil.copy(done.photos / "0.png", done.folder / "others" / "other.png")
    others = ["-c", str(done.folder / "config.json"), "-s", str(done.folder / "others"), "--prune"]
    done.arguments = lambda *more: [*others, *more]  # type: ignore[method-assign]
    assert done.run() == 0
    done.photos.rename(done.folder / "away")
    assert done.run() == 0
    assert "without photo" not in capsys.readouterr().out
    assert done.labelme("1").exists()
