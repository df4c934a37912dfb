"""The doors: what is added by one line of a table is found everywhere that table is read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import yolo_sam_auto_anno_generator as script
from tests.doors.conftest import Example
from tests.helpers.project import COUNT, Project
from utils.formats.base import ExportSettings
from utils.formats.registry import FORMATS
from utils.masks import Mask
from utils.structures import Instances, Sample


@pytest.fixture
def box_table(example: Example) -> str:
    """The name of the page's format, while its line is in the table."""
    example("An export format")
    return "box-table"


def test_a_format_is_added_by_one_line(box_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert box_table in FORMATS and ", ".join(FORMATS) in " ".join(capsys.readouterr().out.split())

    project = Project(tmp_path / "project")
    folder = project.out / box_table
    assert project.run("--format", box_table) == 0
    rows = {image_id: list(csv.DictReader((folder / f"{image_id}.csv").open())) for image_id in project.ids()}
    count = sum(map(len, rows.values()))
    assert f"{box_table}: {count} shapes in {COUNT} images in {folder}" in capsys.readouterr().out
    assert count > 0 and {row["class"] for each in rows.values() for row in each} <= {
        *project.settings["dataset"]["classes"]
    }

    assert project.run("--format", box_table) == 0
    assert project.seen is None, "a rerun leaves what is done"

    (folder / "1.csv").write_text("mine")
    (folder / "clip/2.csv").unlink()
    assert project.run("--format", box_table, "labelme") == 0
    assert (folder / "1.csv").read_text() == "mine"
    assert (folder / "clip/2.csv").exists()
    printed = capsys.readouterr().out
    assert f"{box_table}: 1 to write, {COUNT - 2} done, 1 edited and kept; {folder}" in printed
    assert f"{box_table}: edited annotations, kept: 1" in printed


def test_the_format_of_the_page_leaves_out_and_counts_objects_without_a_pixel(box_table: str) -> None:
    masks = [Mask(1, 2, np.ones((3, 4), bool)), Mask.from_array(np.zeros((9, 9), bool))]
    instances = Instances.from_masks((9, 9), [1, 0], masks)
    exporter = FORMATS[box_table].exporter(ExportSettings(Path(), ["car", "dog"]))
    exported = exporter.export(Sample("a", Path("a.png"), np.zeros((9, 9, 3), np.uint8)), instances)
    assert exported.files["a.csv"].decode().split() == ["class,x1,y1,x2,y2", "dog,1.0,2.0,5.0,5.0"]
    assert (exported.shapes, exported.losses) == (1, {"empty masks left out": 1})


def test_a_format_that_is_not_in_the_table_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Project(tmp_path / "project").run("--format", "box-table") == 2
    message = f'must be {" or ".join(FORMATS)}, not "box-table"'
    assert message in capsys.readouterr().err
