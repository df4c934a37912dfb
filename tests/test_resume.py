"""Annotating again: the done is skipped, the outdated redone, and what a person edited is kept."""

from __future__ import annotations

import csv
import json
import re
import shutil

import labelme
import numpy as np
import pytest
from PIL import Image

from tests.helpers.project import BATCH, COUNT, Project, tree


def test_a_second_run_writes_nothing_and_loads_no_model(done: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.out.rglob("*")}
    capsys.readouterr()
    assert done.run() == 0
    assert done.seen is None
    assert {path: path.stat().st_mtime_ns for path in done.out.rglob("*")} == before
    assert f"labelme: {COUNT} done; {done.out}\n" in capsys.readouterr().out


def test_a_batch_with_a_missing_file_is_computed_whole_and_alone(done: Project) -> None:
    before = tree(done.out)
    done.labelme("4").unlink()
    assert done.run() == 0
    batch = done.ids().index("4") // BATCH * BATCH
    assert done.seen == done.ids()[batch : batch + BATCH]
    assert tree(done.out) == before


def test_other_settings_redo_everything_but_what_a_person_edited(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before, edited = tree(done.out), done.edit("0")
    capsys.readouterr()
    assert done.run("-conf", "0.5") == 0
    assert done.seen == done.ids()
    after = tree(done.out)
    assert after["0.json"] == edited
    assert all(after[f"{image_id}.json"] != before[f"{image_id}.json"] for image_id in done.ids())
    printed = capsys.readouterr().out
    assert f"labelme: {COUNT - 1} to write again, made with other settings or from another image, 1 edited" in printed
    assert "labelme: edited annotations, kept: 1" in printed


@pytest.mark.parametrize("setting", ["dataloader.batch_size=3", "dataloader.num_workers=0", "segmenter.chunk_mb=64"])
def test_what_changes_no_result_redoes_nothing(setting: str, done: Project) -> None:
    assert done.run("--set", setting, "--device", "cpu") == 0
    assert done.seen is None


@pytest.mark.parametrize(
    "setting", ["dataset.conf=0.3", "detector.imgsz=320", "segmenter.precision=fp32", "auto_mask.polygon_tolerance=2"]
)
def test_what_changes_results_redoes_them(setting: str, done: Project) -> None:
    assert done.run("--set", setting) == 0
    assert done.seen == done.ids()


def test_other_weights_are_known_by_their_content_not_their_name(done: Project) -> None:
    weights = done.folder / "copy.pt"
    shutil.copy(done.settings["arch"]["sam_weights"], weights)
    done.settings["arch"]["sam_weights"] = str(weights)
    assert done.run() == 0
    assert done.seen is None
    weights.write_bytes(weights.read_bytes() + b"x")
    assert done.run() == 0
    assert done.seen == done.ids()


def test_an_edited_file_is_replaced_only_when_told_so(done: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before, edited = tree(done.out), done.edit("clip/5")
    assert done.run() == 0
    assert done.seen is None
    assert done.labelme("clip/5").read_bytes() == edited
    assert "1 edited and kept" in capsys.readouterr().out
    assert done.run("--overwrite") == 0
    assert tree(done.out) == before


def test_edits_of_labelme_files_are_said_to_be_in_no_other_format(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    done.edit("0")
    said = f"what a person edited in {done.out} is in no other format: -a {done.out} --format coco yolo -o DIR takes"
    for arguments in ([], ["--dry-run"]):
        assert done.run("--format", "labelme", "coco", "yolo", *arguments) == 0
        assert said in capsys.readouterr().out
    for arguments in (["--format", "labelme"], ["--overwrite", "--dry-run"]):
        assert done.run(*arguments) == 0
        assert "is in no other format" not in capsys.readouterr().out


def test_a_file_that_was_there_before_the_first_run_is_a_persons(project: Project) -> None:
    project.out.mkdir()
    project.labelme("3").write_text('{"shapes": []}')
    assert project.run() == 0
    assert project.labelme("3").read_text() == '{"shapes": []}'


def test_another_image_under_the_same_name_is_annotated_anew(done: Project) -> None:
    before = tree(done.out)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(done.photos / "1.png")
    assert done.run() == 0
    assert done.seen == done.ids()[:BATCH]
    others = Project(done.folder / "others")
    others.out, others.settings["auto_mask"]["save_dir"] = done.out, str(done.out)
    assert others.run() == 0
    assert others.seen == others.ids()
    assert before["0.json"] != done.labelme("0").read_bytes()


def test_a_dry_run_tells_all_and_writes_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("--dry-run") == 0
    assert project.seen is None
    assert not project.out.exists()
    assert f"labelme: {COUNT} to write; {project.out}\n" in capsys.readouterr().out
    assert project.run() == 0
    project.labelme("1").unlink()
    project.edit("clip/2")
    before = tree(project.out)
    capsys.readouterr()
    assert project.run("--dry-run") == 0
    assert f"labelme: 1 to write, {COUNT - 2} done, 1 edited and kept; {project.out}\n" in capsys.readouterr().out
    assert project.run("--dry_run", "--overwrite", "-conf", "0.5") == 0
    assert "1 edited, to be replaced" in capsys.readouterr().out
    assert tree(project.out) == before


@pytest.mark.parametrize("video", [[], ["--video"]])
def test_outputs_among_the_photos_are_no_photos_of_the_next_run(
    video: list[str], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.settings["auto_mask"]["save_dir"], project.settings["predictor"] = "photos", {"save_dir": "photos/look"}
    assert project.run("--also", "visual", *video) == 0
    first = project.seen
    capsys.readouterr()
    assert project.run("--also", "visual", *video) == 0
    assert project.seen == first and len(first or ()) == COUNT
    left_out = {project.photos / "look": COUNT, project.photos / "yolo": COUNT, project.photos / "voc": COUNT}
    left_out[project.photos / "review"] = len([*(project.photos / "review").rglob("*.png")])
    assert 0 < left_out[project.photos / "review"] <= COUNT
    line = re.findall(r"in folders of outputs or label maps, left out: (\d+) \((.*)\)", capsys.readouterr().out)
    assert [(int(count), set(folders.split(", "))) for count, folders in line] == [
        (sum(left_out.values()), set(map(str, left_out)))
    ]
    assert project.run("--format", "labelme", *video) == 0
    assert project.seen is None, "whatever formats this run has, earlier ones made no photos"


def test_a_file_in_the_place_of_a_folder_is_no_annotation_that_a_person_edited(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.out.mkdir()
    (project.out / "clip").write_text("a file")
    assert project.run("--format", "labelme") == 3
    captured = capsys.readouterr()
    assert "edited" not in captured.out
    assert f"error: {project.out / 'clip'}/" in captured.err
    assert ".json: cannot be written: " in captured.err


@pytest.mark.parametrize("place", ["photos/0.png", "photos/0.png/out"])
def test_a_file_in_the_place_of_all_annotations_is_refused(
    place: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("--format", "labelme", "--set", f"auto_mask.save_dir={project.folder / place}") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and project.seen is None
    assert f"auto_mask.save_dir: {project.folder / place}: no file can be made in " in captured.err


def test_dry_runs_look_for_weights_but_load_none_down(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.settings["arch"] |= {"sam_weights": str(project.folder / "sam2.1_hiera_tiny.pt")}
    assert project.run("--dry-run") == 0
    project.settings["arch"] |= {"sam_weights": str(project.folder / "mine.pt")}
    assert project.run("--dry-run") == 2
    assert "mine.pt: no such weight file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"no image"])
def test_a_bad_image_is_named_has_no_file_and_ends_nothing(
    content: bytes, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.photos / "4.png").write_bytes(content)
    for _ in range(2):
        assert project.run() == 1
        assert f"failed: {project.photos / '4.png'}: " in capsys.readouterr().out
        assert not any("4" in name for name in tree(project.out))
        assert len([name for name in tree(project.out) if name.endswith(".json") and "/." not in name]) >= COUNT - 1
    assert project.seen == []


def test_overlays_of_the_same_pass_need_all_images_but_annotations_are_not_written_again(done: Project) -> None:
    edited = done.edit("0")
    before = {path: path.stat().st_mtime_ns for path in done.out.rglob("[!.]*.json")}
    assert done.run("--also", "visual", "--set", f"predictor.save_dir={done.folder / 'masks'}") == 0
    assert done.seen == done.ids()
    assert len(list((done.folder / "masks").rglob("*.jpg"))) == COUNT
    assert {path: path.stat().st_mtime_ns for path in done.out.rglob("[!.]*.json")} == before
    assert done.labelme("0").read_bytes() == edited


def test_every_format_keeps_what_a_person_put_there_or_changed(project: Project) -> None:
    own = {"voc/SegmentationObject/0.png": b"mine", "yolo/labels/clip/2.txt": b"mine", "labelme-polygon/1.json": b"{}"}
    for name, content in own.items():
        (project.out / name).parent.mkdir(parents=True, exist_ok=True)
        (project.out / name).write_bytes(content)
    assert project.run() == 0
    own |= {"yolo/labels/3.txt": b"0 .1 .1 .2 .2 .1 .2", "yolo/data.yaml": b"# mine", "coco/instances.json": b"{ }"}
    for name, content in own.items():
        (project.out / name).write_bytes(content)
    assert project.run("-conf", "0.6") == 0
    after = tree(project.out)
    assert {name: after[name] for name in own} == own
    assert "voc/SegmentationClass/0.png" not in after
    assert project.run("-conf", "0.6", "--overwrite") == 0
    clean = Project(project.folder / "clean")
    assert clean.run("-conf", "0.6") == 0
    ours, theirs = tree(project.out), tree(clean.out)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != content for name, content in own.items())


@pytest.mark.parametrize(
    "name",
    ["yolo/labels/3.txt", "yolo-obb/labels/3.txt", "voc/SegmentationObject/3.png", "coco-panoptic/panoptic/3.png"],
)
def test_edited_files_are_kept_under_no_other_list_of_classes(
    name: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """By another list, the ids in them would be other classes."""
    given = ["--format", name.partition("/")[0]]
    assert project.run(*given) == 0
    (project.out / name).write_bytes(b"")
    before = tree(project.out)
    for class_map in ({"car": None}, {"car": "elephant"}):
        assert project.run(*given, "--set", f"dataset.class_map={json.dumps(class_map)}") == 2
        printed = capsys.readouterr().err
        assert "1 edited image, such as 3: classes count by" in printed
        assert "where 0 is car; in this run it is " in printed and "; -o DIR writes elsewhere" in printed
        assert tree(project.out) == before
    project.settings["dataset"]["classes"] += ["boat"]
    assert project.run(*given) == 0, "the ids mean what they meant"
    lists = "data.yaml", "class_names.txt", "panoptic.json"
    (listed,) = [path for path in (project.out / given[1]).iterdir() if path.name in lists]
    listed.write_text(listed.read_text().replace("car", "automobile"))
    assert project.run(*given) == 0, "a list that a person edited stays"
    assert project.run(*given, "--set", 'dataset.class_map={"car": null}', "--overwrite") == 0


def test_comparing_with_corrected_annotations(done: Project, capsys: pytest.CaptureFixture[str]) -> None:
    corrected = done.folder / "corrected"
    shutil.copytree(done.out / "labelme-polygon", corrected)
    count = len(json.loads((corrected / "0.json").read_text())["shapes"])
    content = json.loads((corrected / "0.json").read_text())
    shape = {"label": "zebra", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon", "group_id": None}
    (corrected / "0.json").write_text(json.dumps({**content, "shapes": [shape]}))
    (corrected / "1.json").unlink()
    for batches in (COUNT, 0):
        assert done.run("--diff", str(corrected)) == 0
        assert len(done.seen or []) == batches
        capsys.readouterr()
    rows = list(csv.DictReader((done.out / "diff.csv").open()))
    assert len(rows) == COUNT - 1
    assert [(row["image_id"], row["extra"], row["missing"]) for row in rows[:1]] == [("0", str(count), "1")]
    assert all(row["differences"] == "" for row in rows[1:])
    (corrected / "3.json").write_text("{}")
    assert done.run("--diff", str(corrected)) == 1
    assert f"failed: {corrected / '3.json'}: not a labelme file" in capsys.readouterr().out
    assert "3" not in [row["image_id"] for row in csv.DictReader((done.out / "diff.csv").open())]


def test_comparing_with_ones_own_folder_takes_what_a_person_edited(
    done: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = done.edit("4")
    (done.out / "labelme-polygon" / "3.json").write_bytes(edited)
    for folder, image_id in ((done.out, "4"), (done.out / "labelme-polygon", "3")):
        assert done.run("--diff", str(folder)) == 0
        assert [row["image_id"] for row in csv.DictReader((done.out / "diff.csv").open())] == [image_id]
        assert f"{COUNT - 1} images have no annotation there that a person edited" in capsys.readouterr().out
        assert done.run("--diff", str(folder), "--overwrite") == 2


def test_nothing_to_compare_with_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / "empty").mkdir()
    for folder, said in (("nowhere", "No such file or directory"), ("empty", "no annotation of an image of the run")):
        assert project.run("--diff", str(project.folder / folder)) == 2
        assert said in capsys.readouterr().err
    (project.folder / "coco").mkdir()
    (project.folder / "coco" / "instances.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert project.run("--diff", str(project.folder / "coco")) == 2
    assert "holds COCO instances or results, and takes labelme files; -a " in capsys.readouterr().err
    assert not project.out.exists()


def test_doubtful_shapes_are_flagged_and_the_table_counts_them(project: Project) -> None:
    assert project.run("--set", "auto_mask.review_below=0.5") == 0
    for row in csv.DictReader((project.out / "review.csv").open()):
        for name in ("", "labelme-polygon"):
            shapes = labelme.LabelFile(str(project.out / name / f"{row['image_id']}.json")).shapes
            flagged = [shape["flags"]["needs_review"] for shape in shapes]
            assert len(flagged) == int(row["objects"])
            assert sum(flagged) == int(row["needs_review"])
            assert all(
                flag >= (min(shape["other_data"]["score"], shape["other_data"]["mask_score"]) < 0.5)
                for flag, shape in zip(flagged, shapes)
            )
