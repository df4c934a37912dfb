"""docs/quickstart.ipynb, run as it stands, and the Dockerfile, as far as it can be checked without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DEMO = REPOSITORY / "datasets" / "demo"


@pytest.mark.slow
def test_the_notebook_shows_scores_pictures_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first four images of the demo in place of all 52, which its config names."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    for entry in REPOSITORY.iterdir():  # so that its outputs lie elsewhere
        if entry.name not in (".git", "outputs", "config.json"):
            (tmp_path / entry.name).symlink_to(entry)
    lists = tmp_path / "four" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"val_{i:05}\n" for i in range(4)))
    for entry in DEMO.iterdir():
        if entry.name != "ImageSets":
            (tmp_path / "four" / entry.name).symlink_to(entry)
    config = json.loads((REPOSITORY / "config.json").read_text())
    config["dataset"]["data_dir"] = "four"
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(REPOSITORY / "docs" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert re.search(r"^Mean_IOU: 0\.[89]\d{3}", text, re.MULTILINE)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert re.search(r"^4 images, \d+ objects$", text, re.MULTILINE)
    assert re.search(r"^\w+ +0\.\d\d +\d+ pixels$", text, re.MULTILINE)


def test_a_linter_of_dockerfiles_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    checked = subprocess.run([hadolint, REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_image_has_what_the_scripts_need() -> None:
    """Nothing that git keeps beside the tests is left out of it."""
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no clone")
    kept = {Path(path).parts[0] for path in tracked.stdout.splitlines()} - set(ignored)
    assert {"yolo_sam.py", "config.json", "configs", "datasets", "models", "utils", "yolo", "sam"} <= kept
    assert "tests" not in kept and "outputs" in ignored
