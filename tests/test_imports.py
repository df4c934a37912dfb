"""Who may import whom, and which files alone know a library; that is what keeps the house in rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOMS = {
    "utils": {"utils"},
    "datasets": {"datasets", "utils"},
    "models": {"models", "utils"},
    "sam": {"sam", "datasets", "models", "utils"},
    "yolo": {"yolo", "datasets", "models", "utils"},
}
"""Folder -> the folders of this repository that its files may import."""

KNOWN_TO = {
    "av": {"datasets/video_file.py", "utils/visual/video.py"},
    "sam2.sam2_video_predictor": {"models/sam2_video.py"},
    "ultralytics": {"models/detector.py", "models/weights.py", "models/ultralytics_quiet.py", "yolo/"},
    "pycocotools": {"utils/"},
}
"""Library -> the files, or folders, that may import it."""


def files() -> Iterator[tuple[str, ast.Module]]:
    """Path and syntax tree of the rooms' files."""
    for room in ROOMS:
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The full names of all that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def imports() -> dict[str, list[str]]:
    return {path: [*imported(tree)] for path, tree in files()}


def test_rooms_import_only_those_below_them(imports: dict[str, list[str]]) -> None:
    scripts = {path.stem for path in REPOSITORY.glob("*.py")}
    ours = {*ROOMS, "tests", "benchmarks", *scripts}
    wrong = [
        f"{path}: {name}"
        for path, names in imports.items()
        for name in names
        if name.split(".")[0] in ours - ROOMS[path.split("/")[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("library", KNOWN_TO)
def test_libraries_are_known_to_few_files(library: str, imports: dict[str, list[str]]) -> None:
    importing = {path for path, names in imports.items() if any(f"{name}.".startswith(f"{library}.") for name in names)}
    strange = {path for path in importing if not path.startswith(tuple(KNOWN_TO[library]))}
    assert strange == set()
    assert importing, f"nobody imports {library} any more"


def test_files_and_functions_are_short() -> None:
    long = []
    for path, tree in files():
        lines = len((REPOSITORY / path).read_text(encoding="utf-8").splitlines())
        long += [f"{path}: {lines} lines"] if lines > 350 else []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                long.append(f"{path}: {node.name}")
    assert long == []
