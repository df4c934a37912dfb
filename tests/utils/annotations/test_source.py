"""Annotations in place of the models: what is read, what fails, what is refused, and what is never loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from utils.annotations.source import AnnotationCascade, AnnotationFolder
from utils.classes import ClassIndex
from utils.distributed import Session
from utils.errors import SampleError
from utils.structures import Frame, Sample

SHAPE = {"label": "car", "points": [[1, 1], [3, 4]], "shape_type": "rectangle"}


def write(folder: Path, image_id: str, *shapes: dict[str, Any], width: int = 9) -> None:
    path = folder / f"{image_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": shapes, "imagePath": "x", "imageHeight": 8, "imageWidth": width}))


def images(*ids: str) -> SimpleNamespace:
    return SimpleNamespace(ids=ids, sizes=lambda positions: [(8, 9)] * len(positions))


def sample(image_id: str) -> Sample:
    return Sample(image_id, Path(f"{image_id}.jpg"), np.zeros((8, 9, 3), np.uint8))


def test_annotations_become_instances_and_what_is_missing_fails_by_name(tmp_path: Path) -> None:
    write(tmp_path, "clip/a", SHAPE, SHAPE | {"label": "pottedplant", "score": 0.5})
    write(tmp_path, "wide", SHAPE, width=10)
    (tmp_path / "broken.json").write_text("{")
    cascade = AnnotationCascade(AnnotationFolder(tmp_path, ClassIndex(("potted plant", "car"))))
    (_, found), *failures = cascade([sample(image_id) for image_id in ("clip/a", "none", "wide", "broken")])
    assert found.detections.class_ids.tolist() == [1, 0]
    assert found.detections.scores.tolist() == [1, 0.5]
    assert [failure.image_id for failure in failures] == ["none", "wide", "broken"]
    assert all(isinstance(failure, SampleError) for failure in failures)
    assert "no annotation" in str(failures[0]) and "10 x 8 pixels, the image has 9 x 8" in str(failures[1])


def test_a_file_that_states_no_size_has_that_of_its_image(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [SHAPE], "imagePath": "gone.jpg"}))
    folder = AnnotationFolder(tmp_path, ClassIndex(("car",)))
    assert folder.problems(images("a"), Session()) == []
    assert folder.read("a", (8, 9)).size == (8, 9)


def test_groups_are_tracks_in_a_clip_only(tmp_path: Path) -> None:
    write(tmp_path, "a", SHAPE | {"group_id": 7}, SHAPE | {"group_id": -2})
    write(tmp_path, "b", SHAPE | {"group_id": 7}, SHAPE)
    write(tmp_path, "c")
    write(tmp_path, "d", SHAPE | {"group_id": 2**63})
    frames = [replace(sample(image_id), frame=Frame("clip", i, 4)) for i, image_id in enumerate("abcd")]
    cascade = AnnotationCascade(AnnotationFolder(tmp_path, ClassIndex(("car",))))
    *found, failure = cascade(frames)
    assert [None if each.track_ids is None else each.track_ids.tolist() for _, each in found] == [[7, -2], None, []]
    assert cascade.summary_lines(Session())[1:] == [
        "annotations: frames with a shape in no group, none of whose objects is in a track: 1, such as b"
    ]
    assert "the group_id 9223372036854775808 cannot be a track: it has more than 64 bits" in str(failure)
    assert all(each.track_ids is None for _, each in cascade([sample("a"), sample("c")]))


def test_all_problems_are_listed_with_file_and_shape(tmp_path: Path) -> None:
    kinds = [
        SHAPE | {"label": "kar"},
        SHAPE | {"shape_type": "points"},
        SHAPE | {"shape_type": "circle", "points": [[1, 1]]},
    ]
    write(tmp_path, "a", SHAPE, *kinds)
    write(tmp_path, "b", SHAPE, width=3)
    write(tmp_path, "c", SHAPE)
    (tmp_path / "d.json").write_text("[]")
    first, second, third, size, foreign = AnnotationFolder(tmp_path, ClassIndex(("car",))).problems(
        images(*"abcd", "none"), Session()
    )
    assert first.endswith('a.json: shapes[1].label: "kar" is none of the 1 classes; did you mean "car"?')
    assert 'a.json: shapes[2].shape_type: "points"' in second and "shapes[3]: its circle has 1 points" in third
    assert "b.json: is for 3 x 8" in size and "d.json: not a labelme file" in foreign
    (tmp_path / "empty").mkdir()
    (problem,) = AnnotationFolder(tmp_path / "empty", ClassIndex(("car",))).problems(images("a"), Session())
    assert problem.startswith("no image of the run has an annotation here")


WITHOUT_TORCH = """
import sys
from pathlib import Path
import yolo_sam, yolo_sam_visual
from utils.cli.guard import guarded
folder, arguments = sys.argv[1], sys.argv[2:]
for script, section in ((yolo_sam, "evaluator"), (yolo_sam_visual, "predictor")):
    code = guarded(lambda: script.main([*arguments, "--set", f"{section}.save_dir={folder}/{section}"]))
    assert code == 0, code
heavy = [name for name in ("torch", "ultralytics", "sam2", "scipy") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.slow
def test_evaluating_and_rendering_load_no_model_and_need_no_weights(
    tmp_path: Path, run_alone: Callable[..., Any]
) -> None:
    """The demo's own true objects, drawn exactly, so the metrics are perfect."""
    demo = Path(__file__).parents[3] / "datasets" / "demo"
    write_truth(demo, tmp_path / "truth")
    missing = [f"--set=arch.{key}=gone.pt" for key in ("yolo_weights", "sam_weights")]
    done = run_alone("-c", WITHOUT_TORCH, str(tmp_path), "-a", str(tmp_path / "truth"), *missing)
    assert done.returncode == 0, done.stderr
    assert "Pixel_Accuracy: 1.0000\nMean_IOU: 1.0000\n" in done.stdout
    assert len(list((tmp_path / "predictor").rglob("*.jpg"))) == len(list((tmp_path / "truth").rglob("*.json")))


def write_truth(tree: Path, folder: Path) -> None:
    """The true objects of a tree's split as labelme files."""
    from datasets.voc import VocDataset
    from utils.classes import load_class_names
    from utils.formats.base import ExportSettings
    from utils.formats.labelme_writer import LabelmeExporter

    dataset = VocDataset(tree, "val", with_gt_instances=True)
    exporter = LabelmeExporter(ExportSettings(folder, load_class_names(tree / "class_names.txt")))
    for i in range(len(dataset)):
        sample = dataset.load(i)
        assert sample.gt_instances is not None
        for name, content in exporter.export(sample, sample.gt_instances).files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
