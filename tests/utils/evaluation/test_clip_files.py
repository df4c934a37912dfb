"""What evaluating clips writes and prints; what it measures is in `test_clips.py`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.clips import demo_clip, random_clip, score
from tests.helpers.evaluate import Pair, provenance
from utils.annotations.source import AnnotationCascade, AnnotationFolder
from utils.classes import ClassIndex
from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.console import display_width
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.pictures import WorstImages
from utils.formats.base import ExportSettings
from utils.formats.labelme_writer import LabelmeExporter
from utils.io.writers import Writers

NAMES = ("car", "elephant", "turtle", "ship")


def evaluate(folder: Path, pairs: Sequence[Pair], report: bool = False) -> tuple[dict[str, Any], list[str]]:
    """What is in `metrics.json`, and the lines that are printed."""
    with Writers(3) as writers:
        evaluator = Evaluator(NAMES, folder, writers, provenance(), worst_images=WorstImages(5) if report else None)
        for sample, instances in pairs:
            evaluator.write(sample, instances)
        lines = evaluator.finish(RunSummary(), Session()).lines
    return json.loads((folder / "metrics.json").read_text()), lines


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Three clips, one of which has a class for an object."""
    by_class = [(replace(sample, gt_instances=None), found) for sample, found in random_clip(11)]
    return [*random_clip(0), *random_clip(5), *by_class]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    evaluate(folder, pairs)
    return folder


def test_metrics_json_has_every_clip_and_object(folder: Path, pairs: list[Pair]) -> None:
    clips = json.loads((folder / "metrics.json").read_text())["clips"]
    scores = {name: score([pair for pair in pairs if pair[0].frame.clip == name]) for name in clips["per_clip"]}
    assert list(scores) == ["clip 0", "clip 11", "clip 5"]
    for name, clip in scores.items():
        written = clips["per_clip"][name]
        assert {key: written[key] for key in clip.measures} == clip.measures
        assert (written["frames"], written["tracks"], written["surplus"]) == (9, clip.tracks, clip.false_tracks)
        assert [each["J"] for each in written["objects"]] == [each.j for each in clip.objects]
        assert written["id_switches"] == clip.id_switches
    assert clips["per_clip"]["clip 11"]["id_switches"] is None
    assert clips["id_switches"] == scores["clip 0"].id_switches + scores["clip 5"].id_switches > 0
    for name in ("J", "F", "J_and_F"):
        assert clips[name] == pytest.approx(np.mean([clip.measures[name] for clip in scores.values()]))


def test_per_clip_csv_has_a_line_for_each_object_the_worst_clip_first(folder: Path) -> None:
    clips = json.loads((folder / "metrics.json").read_text())["clips"]["per_clip"]
    rows = list(csv.DictReader(io.StringIO((folder / "per_clip.csv").read_text())))
    order = [clips[row["clip"]]["J_and_F"] for row in rows]
    assert order == sorted(order)
    for name, clip in clips.items():
        own = [row for row in rows if row["clip"] == name]
        assert [(row["object"], row["class"], row["track"], row["id_switches"]) for row in own] == [
            tuple("" if each[key] is None else str(each[key]) for key in ("object", "class", "track", "id_switches"))
            for each in clip["objects"]
        ]
        assert [float(row["F"]) for row in own] == pytest.approx([each["F"] for each in clip["objects"]], abs=5e-5)


def test_the_lines_stand_before_the_three_metric_lines(tmp_path: Path, pairs: list[Pair]) -> None:
    metrics, lines = evaluate(tmp_path, pairs)
    (head,) = [i for i, line in enumerate(lines) if line.startswith("| Clip ")]
    mean = lines[head + 6].split("|")
    shares = [f"{100 * metrics['clips'][name]:.2f}" for name in ("J_and_F", "J", "F")]
    assert [cell.strip() for cell in mean[1:-2]] == ["mean", "27", *shares, str(metrics["clips"]["id_switches"])]
    assert "1 clip without SegmentationObject: there a class stands for one object" in lines
    assert [line.split(":")[0] for line in lines[-3:]] == ["Pixel_Accuracy", "Mean_IOU", "Class_IOU"]
    assert max(map(display_width, lines[head - 1 : -3])) <= 80


def test_neither_the_order_nor_the_threads_change_a_byte(tmp_path: Path, folder: Path, pairs: list[Pair]) -> None:
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    evaluate(tmp_path, shuffled)
    for name in ("metrics.json", "per_clip.csv", "per_image.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_images_by_themselves_have_no_clips(tmp_path: Path, folder: Path, pairs: list[Pair]) -> None:
    metrics, lines = evaluate(tmp_path, [(replace(sample, frame=None), found) for sample, found in pairs])
    as_frames = json.loads((folder / "metrics.json").read_text())
    assert metrics == {key: value for key, value in as_frames.items() if key != "clips"}
    assert not (tmp_path / "per_clip.csv").exists() and not any("Clip" in line for line in lines)


def test_the_report_has_the_clips(tmp_path: Path, pairs: list[Pair]) -> None:
    metrics, _ = evaluate(
        tmp_path, [(replace(each, image=np.zeros_like(each.image)), found) for each, found in pairs], report=True
    )
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="clips"') :].split("</section>")[0]
    assert '<a href="#clips">Clips</a>' in page
    for name, clip in metrics["clips"]["per_clip"].items():
        row = section[section.index(f"<bdi>{name}</bdi>") :].split("</tr>")[0]
        assert f"{100 * clip['J']:.1f}" in row and f"{100 * clip['F']:.1f}" in row


def test_annotations_of_a_clip_have_the_metrics_of_the_run_that_wrote_them(tmp_path: Path) -> None:
    """Groups of labelme shapes are tracks again; a shape outside the groups leaves its frame without tracks."""
    pairs = [
        (sample, found[np.sort(np.unique(found.track_ids, return_index=True)[1])]) for sample, found in demo_clip()
    ]
    exporter = LabelmeExporter(ExportSettings(tmp_path / "annotations", NAMES))
    for sample, found in pairs:
        for name, content in exporter.export(sample, found).files.items():
            path = tmp_path / "annotations" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    samples = [sample for sample, _ in pairs]
    cascade = AnnotationCascade(AnnotationFolder(tmp_path / "annotations", ClassIndex(NAMES)))
    again = [outcome for outcome in cascade(samples) if isinstance(outcome, tuple)]
    assert evaluate(tmp_path / "again", again) == evaluate(tmp_path / "run", pairs)
    content = json.loads(path.read_text())
    content["shapes"][0]["group_id"] = None
    path.write_text(json.dumps(content))
    (_, edited) = [*cascade(samples)][-1]
    assert edited.track_ids is None and len(edited) == len(content["shapes"])
    (_, alone) = next(cascade([replace(samples[0], frame=None)]))
    assert alone.track_ids is None
