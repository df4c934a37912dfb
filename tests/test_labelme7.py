"""labelme 7 itself, with its window: it opens the links of `review/`, finds their files, and saves to them.

It needs Python 3.12 and Qt 6, so it has an environment of its own: the variable LABELME7 names its interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.project import Project
from utils.annotations.labelme_manifest import parse_if_unmodified

PYTHON = os.environ.get("LABELME7")

WINDOW = """
import json, sys
from pathlib import Path
from PySide6 import QtCore, QtWidgets
from labelme._app import MainWindow

folder, output, labels = sys.argv[1:]
app = QtWidgets.QApplication([])
window = MainWindow(
    config_overrides={"labels": Path(labels).read_text().split(), "auto_save": False},
    file_or_dir=folder,
    output_dir=output,
)

def wait():
    for _ in range(20):
        app.processEvents()
        QtCore.QThread.msleep(5)

wait()
files = window._docks.file_list
names = [files.item(i).data(QtCore.Qt.ItemDataRole.UserRole) for i in range(files.count())]
found = {}
for name in names:
    window._load_file(image_or_label_path=name)
    wait()
    found[name] = [window._label_file_path, len(window._canvas_widgets.canvas.shapes)]
    assert window.save_labels(label_path=window._label_file_path)
    wait()
Path(output, "found.txt").write_text(json.dumps(found))
"""


@pytest.mark.skipif(not PYTHON, reason="LABELME7 names no interpreter with labelme 7")
@pytest.mark.parametrize("name", ["labelme", "labelme-polygon"])
def test_the_window_shows_and_saves_the_files_of_the_doubtful_photos(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    assert project.run("--format", name) == 0
    output = project.out / ("" if name == "labelme" else name)
    command = [str(PYTHON), "-c", WINDOW, project.out / "review", output, project.out / "class_names.txt"]
    subprocess.run(command, check=True, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, timeout=120)
    found = json.loads((output / "found.txt").read_text())
    assert any("clip/" in photo for photo in found)
    for photo, (file, count) in found.items():
        image_id = Path(photo).relative_to(project.out / "review").with_suffix("").as_posix()
        assert Path(file) == output / f"{image_id}.json"
        content = (output / f"{image_id}.json").read_bytes()
        assert json.loads(content)["version"].startswith("7.")
        assert count == len(json.loads(content)["shapes"])
        assert parse_if_unmodified(content), "saving without a change is no edit"
    assert project.run("--format", name, "--set", "auto_mask.review_below=0.3") == 0
    assert project.seen is None
    for photo in found:
        path = output / f"{Path(photo).relative_to(project.out / 'review').with_suffix('')}.json"
        assert (path.parent / json.loads(path.read_text())["imagePath"]).resolve().parent.is_relative_to(project.photos)
