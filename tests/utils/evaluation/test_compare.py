"""Two evaluations side by side: what is said, what is written, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.report import NAMES, Scored, images, write_report
from utils.classes import VOID
from utils.cli.guard import guarded
from utils.evaluation.compare import main, short_names
from utils.evaluation.saved import COUNTS, decode_maps, read_run
from utils.masks import Mask

Change = Callable[[Scored], Scored]


def shifted(scored: Scored) -> Scored:
    """A worse prediction: all masks lie two pixels further right."""
    sample, found = scored
    masks = [Mask(min(mask.left + 2, 63 - mask.crop.shape[1]), mask.top, mask.crop) for mask in found.masks]
    return sample, replace(found, masks=masks)


def written(folder: Path, change: Change = lambda scored: scored, count: int = 12) -> Path:
    for sample, _ in (scored := [*map(change, images(count))]):
        path = folder.parent / "photos" / sample.path
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), sample.image)
    write_report(
        folder, [(replace(sample, path=folder.parent / "photos" / sample.path), found) for sample, found in scored]
    )
    return folder


def test_what_is_saved_gives_the_metrics_again_and_pictures(tmp_path: Path) -> None:
    run = read_run(written(tmp_path / "a"))
    assert read_run(tmp_path / "a" / "metrics.json").folder == run.folder
    tp, predicted, target = run.counts[:, 0].sum(axis=0)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert (tp / (predicted + target - tp)).tolist() == pytest.approx([*metrics["Class_IOU"].values()], abs=1e-15)
    edges_tp, edges_predicted, edges_target = run.counts[:, 1].sum(axis=0)
    ious = (edges_tp / (edges_predicted + edges_target - edges_tp)).tolist()
    assert ious == pytest.approx([each["boundary_iou"] for each in metrics["labels"]], abs=1e-15)
    for sample, found in images(12):
        shown, prediction = decode_maps(run.pictures[sample.image_id])
        np.testing.assert_array_equal(shown, sample.gt_mask)
        np.testing.assert_array_equal(prediction, found.to_semantic())
    assert (tmp_path / "a" / COUNTS).read_bytes() == (written(tmp_path / "a") / COUNTS).read_bytes()


def test_the_better_run_is_named_and_the_files_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [written(tmp_path / "a" / "evaluation"), written(tmp_path / "b" / "evaluation", shifted)]
    arguments = [*map(str, runs), "-o", str(tmp_path / "out"), "--units", "images"]
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("b is worse than a by ") and "12 are few" in "".join(said)
    table = list(csv.DictReader((tmp_path / "out" / "compare.csv").open()))
    mean, metrics = table[0], [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert (mean["run"], mean["compared_with"], mean["measure"], mean["clear"]) == ("b", "a", "mean_iou", "1")
    for key, each in zip(("before", "after"), metrics):
        assert float(mean[key]) == pytest.approx(each["Mean_IOU"], abs=1e-6)
        for row in table:
            if row["measure"] == "boundary_iou":
                label = ("background", *NAMES).index(row["class"])
                assert float(row[key]) == pytest.approx(each["labels"][label]["boundary_iou"], abs=1e-6)
    gain = 100 * (metrics[1]["Mean_IOU"] - metrics[0]["Mean_IOU"])
    tex = (tmp_path / "out" / "compare.tex").read_text()
    assert f"{gain:+.2f} & [" in tex and tex.count(r"\\") == len(NAMES) + 3
    page = (tmp_path / "out" / "compare.html").read_text()
    assert said[-1] in page and page.count('<li class="card"') == 12
    assert "Errors of a" in page and "Errors of b" in page


@pytest.mark.slow
def test_clips_are_drawn_as_wholes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(written(tmp_path / "a")), str(written(tmp_path / "b", shifted)), str(written(tmp_path / "c"))]
    assert main([*runs, "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "compared over 12 images; intervals resample 3 clips and single images" in said
    assert said.splitlines()[-1] == "c and a cannot be told apart: +0.0 points of mIoU (95 %: 0.0 to 0.0)"


def test_one_image_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(written(tmp_path / "a", count=1)), str(written(tmp_path / "b", shifted, 1))]
    assert main([*runs, "-o", str(tmp_path / "out")]) == 0
    pages = [tmp_path / "a" / "report.html", tmp_path / "out" / "compare.html"]
    said = capsys.readouterr().out + "".join(page.read_text().partition("<footer")[0] for page in pages)
    assert "Over 1 image." in said and "1 of 1 image whose" in said and "1 images" not in said


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert guarded(lambda: main(arguments)) == 2
    return capsys.readouterr().err


def test_runs_over_different_data_are_refused_with_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other_target(scored: Scored) -> Scored:
        sample, found = scored
        target = np.full_like(sample.gt_mask, VOID) if sample.image_id == "clip 1/0004" else sample.gt_mask
        return replace(sample, gt_mask=target), found

    first = str(written(tmp_path / "a"))
    fewer, other = str(written(tmp_path / "b", count=10)), str(written(tmp_path / "c", other_target))
    write_report(tmp_path / "d", images(12), ("car", "cat", "bird"))
    out = ("-o", str(tmp_path / "out"))
    assert (
        "2 images are in " in (said := refused(first, fewer, *out, capsys=capsys))
        and "a only, such as clip 1/0010" in said
    )
    assert "the targets of 1 image differ, such as clip 1/0004" in refused(first, other, *out, capsys=capsys)
    assert "label 2 is dog and cat" in refused(first, str(tmp_path / "d"), *out, capsys=capsys)
    assert f"{COUNTS} is missing" in refused(first, str(tmp_path), *out, capsys=capsys)
    (tmp_path / "b" / COUNTS).write_bytes(b"PK")
    assert "damaged" in refused(first, fewer, *out, capsys=capsys)
    assert not (tmp_path / "out").exists()


def test_runs_are_called_by_what_tells_their_folders_apart() -> None:
    names = short_names([Path("x/a/evaluation"), Path("y/a/evaluation"), Path("y/b")])
    assert names == ["x/a", "y/a", "y/b"]
    assert short_names([Path("one/evaluation"), Path("two")]) == ["one", "two"]
    assert short_names([Path("same"), Path("same")]) == ["same 1", "same 2"]
