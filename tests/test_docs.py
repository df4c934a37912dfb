"""Every command in README.md and docs/ works as it stands there, and every link leads somewhere."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import yolo_sam_auto_anno_generator
from tests.helpers.calibration import mean_of_scores
from tests.helpers.track import write_demo_config
from utils.classes import palette
from utils.cli.arguments import Parser
from utils.cli.guard import guarded
from utils.cli.parsers import configured, finetune_parser, parse, run_parser

REPOSITORY = Path(__file__).parents[1]
DEMO = REPOSITORY / "datasets" / "demo"
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python [^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

NOT_RUN = {
    "python -m venv": "prepares an environment",
    "source .venv/bin/activate": "prepares an environment",
    "pip install": "changes the environment; .ci/run has it, see below",
    "ruff": ".ci/run has it, see below",
    "mypy": ".ci/run has it, see below",
    "python -m pytest": ".ci/run has it, see below",
    "PYTHON=python3.12 .ci/run": "makes an environment and runs all tests",
    "python -m benchmarks.": "takes minutes; tests/benchmarks runs it in small",
    "torchrun": "starts several processes; tests/test_torchrun.py and tests/sam do",
    "docker": "builds for minutes where Docker is; tests/test_quickstart.py checks the Dockerfile",
    "labelme": "opens a window",
    "python -m yolo.finetune -c my.json --set 'finetune.yolo.extra=": "needs two GPUs",
}
"""How commands begin that this test only checks, and why it does not run them."""

IN_CI = ("pip install", "ruff", "mypy", "python -m pytest")
"""How commands begin that .ci/run must have."""
NOT_IN_CI = {
    *("pip install labelme", "pip install sahi", "pip install -r requirements-openvino.txt"),  # tests/requirements.txt
    "python -m pytest",  # .ci/run runs all tests
}

PRINTED = {
    "yolo_sam": r"^Mean_IOU: [01]\.\d{4}$",
    "yolo_sam_visual": r"^overlays: [1-9]\d* ",
    "yolo_sam_auto_anno_generator": r"^((labelme|coco|yolo|voc): [1-9]\d* |shard \d of \d: ended)",
    "yolo.predict": r"^prompts: [1-9]\d* boxes",
    "yolo.finetune": r"mAP50-95 0\.\d{4} -> 0\.\d{4} ",
    "sam.finetune": r"mean IoU 0\.\d{4} -> 0\.\d{4} ",
    "datasets.scenes": r"",
    "utils.config.docs": r"^wrote ",
    "utils.evaluation.compare": r" points of mIoU ",
}
"""Script or module -> what it prints when it did its work."""


def blocks_of(page: str) -> Iterator[tuple[str, ...]]:
    """The commands of a page, in blocks that a reader types one after the other: shell blocks, and code in its text."""
    for language, block in FENCE.findall(page):
        assert language in ("", "bash", "json", "python"), f"commands stand in blocks called bash, not {language}"
        if language == "bash":
            yield tuple(chain.from_iterable(map(_commands, block.replace("\\\n", " ").splitlines())))
    yield from (tuple(_commands(code)) for code in INLINE.findall(FENCE.sub("", page)))


def _commands(line: str) -> Iterator[str]:
    for part in line.split("&&"):
        if words := shlex.split(part, comments=True):
            yield shlex.join(words)


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


BLOCKS = list(dict.fromkeys(block for page in PAGES for block in blocks_of(page.read_text("utf-8"))))
COMMANDS = list(dict.fromkeys(chain.from_iterable(BLOCKS)))


def script_of(command: str) -> tuple[str, list[str]]:
    """The module of a Python or torchrun command, and the arguments that it gets."""
    words = shlex.split(command)[1:]
    while words[0].startswith("--n") or words[0].startswith("--master"):  # torchrun's own options
        words.pop(0)
    if words[0] == "-m":
        return words[1], words[2:]
    return words[0].removesuffix(".py"), words[1:]


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def copy(image_id: str, tree: Path, new_id: str | None = None) -> None:
    """Copies an image of the demo and its masks to a VOC tree, under a new id."""
    for name, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png")):
        target = tree / name / f"{new_id or image_id}.{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEMO / name / f"{image_id}.{suffix}", target)


def lay_out_voc(tree: Path) -> None:
    """A small tree with the splits val and train, each of which has an image and a clip of two frames."""
    lists = tree / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, image_id in {"val": "val_00000", "train": "val_00003"}.items():
        (lists / f"{split}.txt").write_text(image_id)
        (lists / f"{split}_videos.txt").write_text(f"{split}_clip")
        copy(image_id, tree)
        for i in range(2):
            copy(f"val_clip_000/{i:06}", tree, f"{split}_clip/{i:06}")
    shutil.copy(DEMO / "class_names.txt", tree)


def lay_out_cvat(tree: Path) -> None:
    """An export of CVAT with one image, whose masks have colors."""
    (tree / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tree / "ImageSets" / "Segmentation" / "default.txt").write_text("val_00000\n")
    copy("val_00000", tree)
    names, colors = (DEMO / "class_names.txt").read_text().split(), palette(6)
    colors[1:] += 7  # CVAT's colors are not VOC's
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip(["background", *names], colors.tolist())]
    (tree / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))
    for folder, shown in (("SegmentationClass", colors), ("SegmentationObject", palette(256))):
        mask = tree / folder / "val_00000.png"
        values = np.array(Image.open(mask))
        values[values == 255] = 0
        Image.fromarray(shown[values]).save(mask)


def lay_out_boxes(folder: Path, names: list[str]) -> None:
    """Photos, and their boxes as a native prompt file, as Ultralytics' predictions, as a YOLO dataset and in COCO."""
    rows = [row for row in json.loads((DEMO / "prediction.json").read_text()) if row["image_id"] == "val_00000"]
    write_json(folder / "boxes.json", rows)
    predictions, labels, annotations = [], [], list[dict[str, object]]()
    for row in rows:
        x1, y1, x2, y2 = row["bbox"]
        width, height = x2 - x1, y2 - y1
        file = {"file_name": "val_00000.jpg", "image_id": "val_00000", "category_id": row["category_id"] + 1}
        predictions.append({**file, "bbox": [x1, y1, width, height], "score": 0.9})
        shares = [(x1 + x2) / 2 / 640, (y1 + y2) / 2 / 360, width / 640, height / 360]
        labels.append(" ".join(map(str, [row["category_id"], *shares])))
        coco = {"id": len(annotations), "image_id": 0, "category_id": row["category_id"] + 1, "iscrowd": 0}
        polygon = [x1, y1, x2, y1, x2, y2, x1, y2]
        annotations.append({**coco, "bbox": [x1, y1, width, height], "segmentation": [polygon]})
    write_json(folder / "predictions.json", predictions)
    for name in ("photos", "boats/images", "boats/labels", "boats-coco/valid"):
        (folder / name).mkdir(parents=True)
    for photos in ("photos", "boats/images", "boats-coco/valid"):
        shutil.copy(DEMO / "JPEGImages" / "val_00000.jpg", folder / photos)
    (folder / "boats" / "labels" / "val_00000.txt").write_text("\n".join(labels))
    (folder / "boats" / "data.yaml").write_text(f"names: {json.dumps(names)}")
    categories = [{"id": i, "name": name, "supercategory": "boats"} for i, name in enumerate(["boats", *names])]
    images = [{"id": 0, "file_name": "val_00000.jpg", "height": 360, "width": 640}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    write_json(folder / "boats-coco" / "valid" / "_annotations.coco.json", content)


def lay_out_clips(folder: Path) -> None:
    """A film of two frames, and two folders with a frame each."""
    frames = [DEMO / "JPEGImages" / "val_clip_000" / f"{i:06}.jpg" for i in range(2)]
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 360))
    for name, frame in zip("ab", frames):
        film.write(cv2.imread(str(frame)))
        (folder / "clips" / name).mkdir(parents=True)
        shutil.copy(frame, folder / "clips" / name)
    film.release()


def lay_out_configs(folder: Path) -> None:
    """The configs of the repository with the demo's weights in place of official ones, and one of a user."""
    demo = json.loads((REPOSITORY / "config.json").read_text())
    for file in ("config.json", "configs/official.json", "configs/voc2012.json"):
        up = "../" * file.count("/")
        arch = {key: up + value if "/" in value else value for key, value in demo["arch"].items()}
        write_json(folder / file, json.loads((REPOSITORY / file).read_text()) | {"arch": arch})
    for key in ("yolo_weights", "sam_weights"):
        weights = folder / demo["arch"][key]
        weights.parent.mkdir(parents=True)
        weights.symlink_to(REPOSITORY / demo["arch"][key])
    write_demo_config(folder / demo["arch"]["sam_config"], 256)
    finetune = {
        "output": "finetuned.pt",
        "yolo": {"epochs": 1, "imgsz": 64, "batch": 2},
        "sam": {"steps": 1, "batch_size": 1, "image_size": 128, "val_every": 1, "frames": 2},
    }
    write_json(folder / "calibration.json", mean_of_scores().content())
    dataset = {"data_dir": "voc", "classes": "voc/class_names.txt"}
    write_json(folder / "my.json", {"arch": demo["arch"], "dataset": dataset, "finetune": finetune})


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages say that a user has: the repository's configs and weights, photos, datasets, boxes, a film."""
    folder = tmp_path_factory.mktemp("laid_out")
    lay_out_voc(folder / "voc")
    lay_out_boxes(folder, (DEMO / "class_names.txt").read_text().split())
    lay_out_cvat(folder / "cvat")
    lay_out_clips(folder)
    lay_out_configs(folder)
    for link in ("datasets/demo", "data/VOCdevkit/VOC2012"):
        (folder / link).parent.mkdir(parents=True)
        (folder / link).symlink_to(folder / "voc")
    annotate = ["-c", str(folder / "my.json")]
    assert guarded(lambda: yolo_sam_auto_anno_generator.main(annotate)) == 0
    annotations = folder / "outputs" / "annotations"
    shutil.copytree(annotations, folder / "corrected", ignore=shutil.ignore_patterns(".*", "*.csv"))
    shutil.copytree(folder / "voc" / "SegmentationClass", folder / "predicted")
    cv2.imwrite(str(folder / "predicted" / "val_00000.png"), np.zeros((360, 640), np.uint8))  # nothing was found there
    corrected = json.loads((folder / "corrected" / "val_00000.json").read_text())
    corrected["shapes"].pop()
    write_json(folder / "corrected" / "val_00000.json", corrected)
    return folder


@pytest.fixture
def workplace(laid_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is laid out, which is the working directory."""
    folder = tmp_path / "workplace"
    shutil.copytree(laid_out, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def is_part(block: tuple[str, ...]) -> bool:
    """Whether another block has the commands of this one and more."""
    return any({*block} < {*other} for other in BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [each for each in BLOCKS if any(map(is_run, each)) and not is_part(each)], ids="; ".join
)
def test_commands_do_their_work(block: tuple[str, ...], workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in filter(is_run, block):
        assert command.startswith("python "), f"{command}: neither Python nor in the list of what is not run"
        module, arguments = script_of(command)
        code = guarded(partial(importlib.import_module(module).main, arguments))
        output = capsys.readouterr()
        assert code == 0, f"{command}: {output.err}"
        assert re.search(PRINTED[module], output.out, re.MULTILINE), f"{command}: {output.out}"


@pytest.mark.parametrize("command", [each for each in COMMANDS if not is_run(each) and " my.json" in each])
def test_options_of_a_command_that_is_not_run_are_valid(command: str, workplace: Path) -> None:
    module, arguments = script_of(command)
    if module.endswith(".finetune"):
        configured(finetune_parser("", "yolo").parse_args(arguments))
    else:
        parse("evaluate", "", arguments)


def test_ci_runs_what_the_pages_say_of_installing_and_checking() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text().replace(" -q", "").splitlines()
    commands = [command for command in COMMANDS if command.startswith(IN_CI) and command not in NOT_IN_CI]
    assert len(commands) >= 7
    assert [command for command in commands if command not in lines] == []


@pytest.mark.slow
def test_ci_runs_all_tests_and_a_plain_pytest_the_quick_ones(
    tmp_path: Path, run_alone: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "test_two.py").write_text(
        "import pytest\n\n@pytest.mark.slow\ndef test_slow(): pass\n\ndef test_quick(): pass\n"
    )
    (in_ci,) = [line for line in (REPOSITORY / ".ci" / "run").read_text().splitlines() if "pytest" in line]
    for command, result in (("python -m pytest", "1 passed, 1 deselected"), (in_ci, "2 passed")):
        start, *words = shlex.split(command)
        done = run_alone(*words, "-n", "0", "-c", str(REPOSITORY / "pyproject.toml"), str(tmp_path))
        assert (start, done.returncode) == ("python", 0) and result in done.stdout, done.stdout + done.stderr


def test_journeys_are_linked_and_their_commands_have_valid_options() -> None:
    """.ci/run runs them."""
    journeys = sorted((REPOSITORY / "docs" / "journeys").glob("*.sh"))
    readme, ci = (REPOSITORY / "README.md").read_text("utf-8"), (REPOSITORY / ".ci" / "run").read_text()
    assert len(journeys) == 5
    assert "docs/journeys/*.sh" in ci
    scripts: dict[str, Callable[[str], Parser]] = {
        **dict.fromkeys(("yolo_sam", "yolo_sam_visual", "yolo_sam_auto_anno_generator"), run_parser),
        "yolo.finetune": partial(finetune_parser, model="yolo"),
        "sam.finetune": partial(finetune_parser, model="sam"),
    }
    for journey in journeys:
        assert f"(docs/journeys/{journey.name})" in readme
        lines = journey.read_text().replace("\\\n", " ").splitlines()
        called = [script_of(line) for line in lines if line.startswith("python ") and "<<" not in line]
        assert {module for module, _ in called} & scripts.keys()
        for module, arguments in called:
            if module in scripts:
                scripts[module]("").parse_args(arguments)


def test_list_of_what_is_not_run_has_no_leftovers() -> None:
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in COMMANDS)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", FENCE.sub("", target.read_text("utf-8")), re.MULTILINE) if heading else ()
        assert not heading or heading in map(anchor, headings), link


def anchor(heading: str) -> str:
    """What GitHub calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_readme_is_short() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1500
