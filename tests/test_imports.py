"""Who may import whom: rooms, the layers of `utils`, no circle; and which files alone know a library."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = "scripts"
"""What the files beside README.md are called here."""

ROOMS = {
    SCRIPTS: {"datasets", "models", "utils"},
    "datasets": {"datasets", "utils"},
    "models": {"models", "utils"},
    "utils": {"utils"},
    "sam": {"sam", "datasets", "models", "utils"},
    "yolo": {"yolo", "datasets", "models", "utils"},
    "benchmarks": {SCRIPTS, "benchmarks", "datasets", "models", "utils", "sam", "yolo"},
}
"""Folder -> the folders of this repository that its files may import."""

LAYERS = (
    ("utils.run",),
    ("utils.evaluation", "utils.shards"),
    ("utils.annotations", "utils.visual"),
    ("utils.metrics", "utils.cli"),
    ("utils.prompts",),
    ("utils.config",),
    ("utils.formats", "utils.engine"),
    ("utils.structures", "utils.label_maps", "utils.class_map"),
    ("utils.io", "utils.classes", "utils.device"),
    ("utils.boxes", "utils.masks", "utils.matching", "utils.errors", "utils.files", "utils.cores", "utils.distributed"),
)
"""`utils` from the top: a file may import its own package and all lower layers.

`config` stands above `formats`, whose table tells it which formats there are and which settings they have.
"""

NEIGHBOURS = {
    ("utils.label_maps", "utils.structures"),
    ("utils.class_map", "utils.structures"),
    ("utils.masks", "utils.boxes"),
    ("utils.files", "utils.errors"),
    ("utils.io.photos", "utils.device"),
}
"""Which files may import one of another package in their own layer."""

KNOWN_TO = {
    "av": {"datasets/video_file.py", "utils/visual/video.py"},
    "sam2.sam2_video_predictor": {"models/sam2_video.py"},
    "ultralytics": {"models/", "yolo/"},
    "pycocotools": {"utils/"},
    "sahi": {"models/slices.py"},
}
"""Library -> the files, or folders, that may import it; benchmarks compare with libraries and may import any."""

MOST_LINES, MOST_LINES_OF_A_FUNCTION = 350, 60

Imports = set[tuple[str, str]]
"""Importing and imported module."""


def modules() -> dict[str, Path]:
    """The modules of the repository but its tests, by their full names; a package is its `__init__`."""
    paths = [*REPOSITORY.glob("*.py"), *(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))]
    named = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in sorted(paths)}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imported(tree: ast.Module) -> Iterator[str]:
    """The full names of all that a file imports: in functions and for types, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports have full names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str, known: Iterable[str]) -> str | None:
    """The module of this repository that a full name means, be it of something in it; None: it is not ours."""
    parts = name.split(".")
    return next((found for n in range(len(parts), 0, -1) if (found := ".".join(parts[:n])) in known), None)


def room_of(module: str) -> str:
    first = module.partition(".")[0]
    return first if first in {*ROOMS, "tests"} else SCRIPTS


def layer_of(module: str) -> tuple[int, str] | None:
    """The layer, counted from the top, and the part of it that a module belongs to; None if there is none."""
    found = [(i, part) for i, parts in enumerate(LAYERS) for part in parts if f"{module}.".startswith(f"{part}.")]
    return found[0] if found else None


def across_rooms(imports: Imports) -> list[tuple[str, str]]:
    """The imports of a room that its own may not import."""
    return sorted(each for each in imports if room_of(each[1]) not in ROOMS[room_of(each[0])])


def upward(imports: Imports) -> list[tuple[str, str]]:
    """The imports inside `utils` that do not lead to a lower layer."""

    def leads_down(importing: str, name: str) -> bool:
        (layer, part), (other_layer, other_part) = layer_of(importing), layer_of(name)
        return layer < other_layer or part == other_part or (importing, name) in NEIGHBOURS

    inside = (each for each in imports if all(layer_of(module) for module in each))
    return sorted(each for each in inside if not leads_down(*each))


def circle(imports: Imports) -> list[str]:
    """A circle in which modules import each other; empty if there is none."""
    graph: TopologicalSorter[str] = TopologicalSorter()
    for importing, name in imports:
        graph.add(importing, name)
    try:
        graph.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules().items()}


@pytest.fixture(scope="module")
def imports(trees: dict[str, ast.Module]) -> Imports:
    known = {*trees, "tests"}
    pairs = {(importing, module_of(name, known)) for importing, tree in trees.items() for name in imported(tree)}
    return {(importing, name) for importing, name in pairs if name not in (None, importing)}


def test_rooms_import_only_those_below_them(imports: Imports) -> None:
    assert across_rooms(imports) == []


def test_layers_of_utils_import_only_those_below_them(imports: Imports) -> None:
    assert upward(imports) == []


def test_no_modules_import_each_other_in_a_circle(imports: Imports) -> None:
    assert circle(imports) == []


def test_every_module_of_utils_belongs_to_a_layer_and_every_layer_is_there() -> None:
    inside = [name for name in modules() if name.startswith("utils.")]
    assert [name for name in inside if layer_of(name) is None] == []
    assert {layer_of(name)[1] for name in inside} == {part for parts in LAYERS for part in parts}


def test_nothing_is_allowed_that_nobody_does(imports: Imports) -> None:
    assert imports >= NEIGHBOURS
    assert all(layer_of(one)[0] == layer_of(other)[0] for one, other in NEIGHBOURS)


@pytest.mark.parametrize(
    "text",
    [
        "import utils.cli.parsers",
        "from utils.cli import parsers",
        "from utils.cli.parsers import parse",
        "def f():\n    from utils.cli.parsers import parse",
        "if TYPE_CHECKING:\n    from utils.cli.parsers import Parser",
    ],
)
def test_an_import_is_seen_wherever_it_stands(text: str) -> None:
    found = {module_of(name, modules()) for name in imported(ast.parse(text))}
    assert found == {"utils.cli.parsers"}
    assert upward({("utils.io.writers", name) for name in found}) == [("utils.io.writers", "utils.cli.parsers")]


def test_rules_that_are_broken_are_told() -> None:
    assert across_rooms({("datasets.voc", "models.loading"), ("models.loading", "utils.errors", "utils.files")}) == [
        ("datasets.voc", "models.loading")
    ]
    assert across_rooms({("utils.run", "yolo_sam"), ("utils.run", "tests"), ("benchmarks.demo", "yolo_sam")}) == [
        ("utils.run", "tests"),
        ("utils.run", "yolo_sam"),
    ]
    assert upward({("utils.structures", "utils.label_maps"), ("utils.visual.overlay", "utils.visual.colors")}) == [
        ("utils.structures", "utils.label_maps")
    ]
    assert set(circle({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")})) == {"a", "b", "c"}


@pytest.mark.parametrize("library", KNOWN_TO)
def test_libraries_are_known_to_few_files(library: str, trees: dict[str, ast.Module]) -> None:
    importing = {
        path.relative_to(REPOSITORY).as_posix()
        for module, path in modules().items()
        if room_of(module) != "benchmarks"
        and any(f"{name}.".startswith(f"{library}.") for name in imported(trees[module]))
    }
    assert {path for path in importing if not path.startswith(tuple(KNOWN_TO[library]))} == set()
    unused = {place for place in KNOWN_TO[library] if not any(path.startswith(place) for path in importing)}
    assert unused == set(), f"they do not import {library} any more"


def test_files_and_functions_are_short(trees: dict[str, ast.Module]) -> None:
    long = []
    for module, path in modules().items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        long += [f"{module}: {lines} lines"] if lines > MOST_LINES else []
        for node in ast.walk(trees[module]):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION:
                long.append(f"{module}: {node.name}")
    assert long == []
