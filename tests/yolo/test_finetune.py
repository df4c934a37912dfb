"""Finetuning YOLO: what it learns from, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.scenes import main as paint
from datasets.voc import VocDataset
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import load_yolo
from utils.cli.parsers import configured, finetune_parser
from utils.errors import UserError
from utils.io.photos import read_image
from yolo.finetune import main, summary
from yolo.training_data import write_training_data

REPOSITORY = Path(__file__).parents[2]
NAMES = ["disc", "Kästchen"]
SIDE = 64
PARTS = {"a": [(4, 4, 20, 12), (30, 30, 50, 60)], "b": [(0, 0, 64, 10)]}  # x1, y1, x2, y2


def paint_tree(root: Path, splits: dict[str, list[str]]) -> Path:
    """A VOC tree whose images show a red disc (class 0) and two green parts (class 1) that may be one object."""
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass", "SegmentationObject"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, ids in splits.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(ids), "utf-8")
        for image_id in ids:
            image = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8)
            labels, objects = np.zeros((2, SIDE, SIDE), np.uint8)
            for drawn, value in ((image, (250, 20, 20)), (labels, 1), (objects, 7)):
                cv2.circle(drawn, (48, 16), 10, value, -1)
            for x1, y1, x2, y2 in PARTS["a"]:
                image[y1:y2, x1:x2], labels[y1:y2, x1:x2], objects[y1:y2, x1:x2] = (20, 250, 20), 2, 3
            Image.fromarray(image).save(root / f"JPEGImages/{image_id}.jpg", quality=95)
            Image.fromarray(labels).save(root / f"SegmentationClass/{image_id}.png")
            if image_id.startswith("whole"):
                Image.fromarray(objects).save(root / f"SegmentationObject/{image_id}.png")
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": [f"{kind}{i}" for kind in ("whole", "parts") for i in range(3)], "val": ["v0", "v1"]}
    return paint_tree(tmp_path_factory.mktemp("voc"), splits)


def config_file(folder: Path, tree: Path, **finetune: object) -> Path:
    architecture = str(REPOSITORY / "yolo/yolov8/yolov8-demo.yaml")
    training = {"architecture": architecture, "epochs": 1, "imgsz": 64, "batch": 3}
    settings = {"init": "scratch", "output": "new.pt", "yolo": training}
    content = {"dataset": {"data_dir": str(tree), "classes": NAMES}, "finetune": settings | finetune}
    path = folder / "config.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


def boxes_in(file: Path) -> list[tuple[int, list[float]]]:
    """Class id and x1, y1, x2, y2 in pixels of each line of a label file."""
    found = []
    for line in file.read_text("utf-8").splitlines():
        class_id, *values = line.split()
        x, y, width, height = (SIDE * float(value) for value in values)
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        found.append((int(class_id), [round(corner, 3) for corner in corners]))
    return sorted(found)


def test_objects_become_boxes_and_without_object_masks_connected_parts_do(tree: Path, tmp_path: Path) -> None:
    dataset = VocDataset(tree, "train", with_gt_instances=True)
    assert write_training_data({"train": dataset}, NAMES, tmp_path) == []
    disc = (0, [38, 6, 59, 27])  # a circle of radius 10 covers 21 pixels
    for index, image_id in enumerate(dataset.ids):
        one, two = (1, [4, 4, 50, 60]), [(1, [4, 4, 20, 12]), (1, [30, 30, 50, 60])]
        expected = [disc, one] if image_id.startswith("whole") else [disc, *two]
        assert boxes_in(tmp_path / f"labels/train/{index:08}.txt") == expected


def test_ultralytics_reads_the_same_pixels(tree: Path, tmp_path: Path) -> None:
    turned = paint_tree(tmp_path / "voc", {"train": ["plain", "turned", "cmyk"]})
    photos = turned / "JPEGImages"
    image = Image.open(photos / "turned.jpg")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(photos / "turned.jpg", exif=exif)
    Image.open(photos / "cmyk.jpg").convert("CMYK").save(photos / "cmyk.jpg")
    (tmp_path / "out").mkdir()
    assert (
        write_training_data({"train": VocDataset(turned, "train", with_gt_instances=True)}, NAMES, tmp_path / "out")
        == []
    )
    written = sorted((tmp_path / "out/images/train").iterdir())
    for file, name in zip(written, ("plain", "turned", "cmyk")):
        np.testing.assert_array_equal(cv2.imread(str(file))[:, :, ::-1], read_image(photos / f"{name}.jpg"))
    assert not any(file.is_symlink() for file in written)


def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    root = paint_tree(tmp_path / "voc", {"train": ["good", "bad"]})
    photo = root / "JPEGImages/bad.jpg"
    photo.write_bytes(photo.read_bytes()[:500])
    (tmp_path / "out").mkdir()
    (failure,) = write_training_data(
        {"train": VocDataset(root, "train", with_gt_instances=True)}, NAMES, tmp_path / "out"
    )
    assert failure.image_id == "bad"
    assert len(list((tmp_path / "out/images/train").iterdir())) == 1


TRAIN_OFFLINE = """
import sys
events = []
sys.addaudithook(lambda name, arguments: name.startswith(("socket.connect", "socket.getaddr")) and events.append(name))
sys.addaudithook(lambda name, arguments: name == "subprocess.Popen" and "pip" in str(arguments) and events.append(name))
from yolo.finetune import main
code = main(sys.argv[1:])
assert not events, events
sys.exit(code)
"""


@pytest.fixture(scope="module")
def trained(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a training run, and what the run printed."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tmp").mkdir()
    config_file(folder, tree)
    places = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "PYTHONPATH": REPOSITORY}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    for name in ("YOLO_OFFLINE", "YOLO_CONFIG_DIR", "YOLO_AUTOINSTALL", "XDG_CONFIG_HOME", "RANK", "LOCAL_RANK"):
        environment.pop(name, None)
    command = [sys.executable, "-c", TRAIN_OFFLINE, "-c", "config.json", "--device", "cpu"]
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


@pytest.mark.slow
def test_training_writes_its_weights_and_curve_offline_and_says_what_it_changed(trained: tuple[Path, str]) -> None:
    folder, output = trained
    files = {path.name for path in folder.iterdir()} - {"home"}
    assert files == {"config.json", "new.csv", "new.png", "new.pt", "tmp"}
    assert {path.name for path in folder.glob("home/.*/*")} <= {"matplotlib"}  # its list of fonts
    assert not [path for path in (folder / "tmp").iterdir() if path.name.startswith(("ultralytics", "yolo"))]
    weights = folder / "new.pt"
    assert re.search(r"^new\.pt: mAP50-95 0\.\d{4} -> 0\.\d{4} on the split val", output, re.MULTILINE)
    with (folder / "new.csv").open() as table:
        start, row = csv.DictReader(table)
    assert start["epoch"] == "0" and start["train/box_loss"] == "nan" and float(start["val/box_loss"]) > 0
    assert row["epoch"] == "1" and float(row["train/box_loss"]) > 0 and "metrics/mAP50-95(B)" in row
    with Image.open(folder / "new.png") as picture:
        assert picture.width > 400
    assert weights.stat().st_size < 4_500_000


@pytest.mark.slow
def test_the_result_is_a_stripped_checkpoint_with_the_names_of_the_dataset(trained: tuple[Path, str]) -> None:
    weights = trained[0] / "new.pt"
    model = load_yolo(weights)
    assert model.names == dict(enumerate(NAMES))
    stored = torch.load(weights, weights_only=False)
    assert {parameter.dtype for parameter in stored["model"].parameters()} == {torch.float16}
    assert not stored.keys() & {"optimizer", "ema", "date", "git"}
    assert str(trained[0]).encode() not in weights.read_bytes()


@pytest.mark.slow
def test_weights_that_training_spoilt_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    for seed, split in (("5", "train"), ("6", "val")):
        paint(["--seed", seed, "--count", "2", "--split", split, "--out", str(tmp_path / "voc"), "--plain"])
    start = REPOSITORY / "yolo/yolov8/demo.pt"
    extra = {"optimizer": "SGD", "lr0": 1.0, "warmup_epochs": 0, "nbs": 1}
    training = {"epochs": 1, "imgsz": 320, "batch": 1, "extra": extra}
    config = config_file(tmp_path, tmp_path / "voc", init=str(start), yolo=training)
    assert main(["-c", str(config), "--device", "cpu", "--set", "dataset.classes=voc/class_names.txt"]) == 0
    printed = capsys.readouterr().out
    found = re.search(r"^new\.pt: mAP50-95 (\S+) -> (\S+) on the split val", printed, re.MULTILINE)
    assert found is not None and float(found[1]) > max(0.2, float(found[2]))
    assert "did not help" in printed and "use it:" not in printed
    theirs, ours = load_yolo(start).state_dict(), load_yolo(tmp_path / "new.pt").state_dict()
    assert all(torch.equal(theirs[name].half(), ours[name].half()) for name in theirs)


@pytest.mark.parametrize("before, after", [(0.2, 0.3), (0.3, 0.2), (0.2, 0.2), (0.0, 0.0)])
def test_the_result_is_recommended_only_if_the_score_rose(
    before: float, after: float, tree: Path, tmp_path: Path
) -> None:
    args = finetune_parser("", "yolo").parse_args(["-c", str(config_file(tmp_path, tree, init="start.pt"))])
    lines = [*summary(args, configured(args), Path("new.pt"), before, after)]
    assert lines[0].startswith(f"new.pt: mAP50-95 {before:.4f} -> {after:.4f} on the split val")
    assert lines[1] == "curve of the training: new.csv, new.png"
    if after > before:
        assert lines[2:] == [f"use it:  python yolo_sam.py -c {args.config} --set=arch.yolo_weights=new.pt"]
    else:
        advice = '"lr0": 0.0001' if before else "--set finetune.yolo.epochs=10"
        assert "did not help" in lines[0] and advice in lines[2] and "use it" not in lines[2]


def published(weights: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a weight file holds beside its model, and the model's tensors."""
    content = torch.load(weights, weights_only=False)
    return content, content.pop("model").state_dict()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_the_result_can_be_trained_on(
    trained: tuple[Path, str], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    config = config_file(tmp_path, tree)
    again = ["-c", str(config), "--device", "cpu"]
    assert main(again) == 0
    # Not the same bytes: from Python 3.13 on, pickle writes a name twice that two parts do not share as an object.
    (beside, ours), (others, theirs) = published(tmp_path / "new.pt"), published(trained[0] / "new.pt")
    assert beside == others
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UserError, match=r"new\.pt.*overwrite"):
        main(again)
    before = (tmp_path / "new.pt").read_bytes()
    on = ["--overwrite", "--set", f"finetune.init={trained[0] / 'new.pt'}", "--set", 'finetune.yolo.extra={"lr0": 0.1}']
    assert main([*again, *on]) == 0
    assert (tmp_path / "new.pt").read_bytes() != before


def test_the_processes_that_ultralytics_starts_for_several_gpus_get_our_trainer_and_our_weights(tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics.utils.dist import ddp_cleanup, generate_ddp_file

    from yolo.trainer import FolderTrainer

    start = load_yolo(REPOSITORY / "yolo/yolov8/demo.pt")
    (tmp_path / "names.json").write_text("[]", "utf-8")
    arguments = {"task": "detect", "model": "yolov8n.yaml", "data": str(tmp_path), "project": str(tmp_path)}
    trainer = FolderTrainer(overrides={**arguments, "device": "cpu"})
    trainer.model = start
    script = generate_ddp_file(trainer)
    state = torch.load(Path(script).with_suffix(".pt"), weights_only=False)
    ddp_cleanup(trainer, script)
    assert state["trainer"] is FolderTrainer and state["args"]["data"] == str(tmp_path)
    assert all(map(torch.equal, state["model"].state_dict().values(), start.state_dict().values()))


def test_torchrun_is_refused(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="without torchrun"):
        main(["-c", str(config_file(tmp_path, tree))])


@pytest.mark.parametrize(
    "finetune, message",
    [
        ({"val_split": "train"}, "share images"),
        ({"init": "nowhere.pt"}, r"nowhere\.pt: no such weight file"),
        ({"init": None}, "needs finetune.init or arch.yolo_weights"),
        ({"yolo": {"architecture": "yolov8-cls.yaml"}}, r"architecture: yolov8-cls\.yaml: no detector: it ends in Cl"),
        ({"yolo": {"architecture": "nowhere.yaml"}}, r"finetune\.yolo\.architecture: nowhere\.yaml"),
        ({"yolo": {"extra": {"lr": 1}}}, r"finetune\.yolo\.extra: 'lr' is not a valid"),
        ({"yolo": {"extra": {"lr0": "big"}}}, r"finetune\.yolo\.extra: 'lr0=big'"),
        ({"yolo": {"extra": {"data": "x", "epochs": 3}}}, "data, epochs .* dataset.data_dir, finetune.yolo.epochs"),
        ({"yolo": {"extra": {"amp": True}}}, r"finetune\.yolo\.extra: amp cannot be set here$"),
        ({"output": "new.onnx"}, r"finetune\.output: new\.onnx must end in \.pt or \.pth"),
        ({"output": "new.csv"}, r"finetune\.output: new\.csv must end in \.pt or"),
        ({"output": "new"}, r"finetune\.output: new must end in \.pt"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_written(
    finetune: dict[str, object], message: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match=message):
        main(["-c", str(config_file(tmp_path, tree, **finetune)), "--device", "cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
