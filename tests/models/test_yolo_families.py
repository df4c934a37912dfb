"""Every model of Ultralytics that has boxes gives those of its own `predict` on the single image, in any batch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_detector import YoloDetector
from utils.classes import MAX_CLASSES
from utils.config import Config, DatasetConfig, DetectorConfig
from utils.errors import UserError

SETTINGS: dict[str, Any] = {"imgsz": 128, "iou": 0.6, "max_det": 60}
CPU = torch.device("cpu")

FAMILIES = {
    "yolov3-tiny": "DetectionModel",
    "yolov5n": "DetectionModel",
    "yolov5n-p6": "DetectionModel",
    "yolov8n": "DetectionModel",
    "yolov9t": "DetectionModel",
    "yolov10n": "DetectionModel",
    "yolo11n": "DetectionModel",
    "yolo12n": "DetectionModel",
    "yolo26n": "DetectionModel",
    "yolov8n-rtdetr": "RTDETRDetectionModel",
    "yolov8s-worldv2": "WorldModel",
    "yoloe-11s": "YOLOEModel",
    "yoloe-11s-seg": "YOLOESegModel",
    "yolov8n-seg": "SegmentationModel",
    "yolo26n-seg": "SegmentationModel",
    "yolo11n-pose": "PoseModel",
    "yolo26n-pose": "PoseModel",
    "yolov8n-obb": "OBBModel",
    "yolo26n-obb": "OBBModel",
}
TASKS = {"SegmentationModel": "segment", "YOLOESegModel": "segment", "PoseModel": "pose", "OBBModel": "obb"}


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Pictures of mixed shapes, two of which are letterboxed to the same one."""
    rng = np.random.default_rng(1)
    sizes = [(96, 152), (152, 96), (256, 256), (64, 296), (200, 304), (104, 152), (1, 300)]
    patches = [rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8) for height, width in sizes]
    return [each.repeat(8, 0).repeat(8, 1)[:height, :width] for each, (height, width) in zip(patches, sizes)]


def random_file(name: str, folder: Path, images: list[np.ndarray], classes: int = 4) -> Path:
    """A checkpoint of a family with random weights, whose normalisation knows such pictures."""
    quiet_ultralytics()
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    kind = FAMILIES[name]
    model = getattr(tasks, kind)(f"{name}.yaml", nc=classes, verbose=False)
    model.names = {i: f"class {i}" for i in range(classes)}
    if name.startswith("yoloe"):
        model.pe = torch.nn.functional.normalize(torch.randn(1, classes, 512), dim=-1)  # as its set_classes leaves it
        model.model[-1].nc = classes
    batch = torch.from_numpy(np.stack([images[2]] * 2)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        model.eval()
        for layer in model.modules():
            layer.train(isinstance(layer, torch.nn.BatchNorm2d))
            if kind == "WorldModel":  # else its scores are all the same, and rounding says which boxes NMS keeps
                layer.momentum = 1.0
        for _ in range(5):
            model(batch)
        model.eval()
    path = folder / "random.pt"
    torch.save({"model": model.half(), "train_args": {"task": TASKS.get(kind, "detect")}}, path)
    return path


class Reference:
    """Ultralytics' own `predict`."""

    def __init__(self, path: Path, task: str | None = None) -> None:
        quiet_ultralytics()
        import torchvision  # noqa: F401  (so that both use its NMS; Ultralytics' own breaks ties otherwise)
        from ultralytics import YOLO

        self.model = YOLO(str(path), task=task)

    def __call__(self, image: np.ndarray, conf: float, **settings: Any) -> np.ndarray:
        """(N, 6) rows of a box, its score and its class."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        (result,) = self.model.predict(bgr, conf=conf, verbose=False, **(SETTINGS | settings))
        found = result.boxes if result.obb is None else result.obb
        return np.column_stack([found.xyxy.numpy(), found.conf.numpy(), found.cls.numpy()])

    def median_conf(self, images: list[np.ndarray]) -> float:
        """A threshold that half of the boxes pass, and not one so closely that rounding decides."""
        scores = np.sort(np.concatenate([self(image, 0.0)[:, 4] for image in images]).clip(0, 1))
        middle = scores[len(scores) // 3 : 2 * len(scores) // 3 + 2]
        widest = int(np.diff(middle).argmax())
        return float(middle[widest : widest + 2].mean())


def detector(path: Path, conf: float, *, trust: bool = False, **settings: Any) -> YoloDetector:
    own = DetectorConfig(**(SETTINGS | settings))
    return YoloDetector(path, CPU, Config(dataset=DatasetConfig(conf=conf), detector=own), trust=trust)


def rows(found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    return np.column_stack(found)


QUICK = {"yolov8n", "yolo26n"}
"""One whose boxes go through NMS, and one whose do not. The others are slow: they are large or many."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_boxes_are_those_of_predict(name: str, tmp_path: Path, images: list[np.ndarray]) -> None:
    path = random_file(name, tmp_path, images)
    reference = Reference(path)
    conf = reference.median_conf(images)
    expected = [reference(image, conf) for image in images]
    found = detector(path, conf)
    for image, wanted in zip(images, expected):
        np.testing.assert_allclose(rows(found([image])[0]), wanted, rtol=0, atol=1e-3)
    for batched, wanted in zip(found(images), expected, strict=True):
        have = rows(batched)  # in a batch rounding differs, and may swap two of almost the same score
        distance = np.abs(have[:, None] - wanted[None]).max(2)
        unlike = int((distance.min(0, initial=9) > 0.01).sum() + (distance.min(1, initial=9) > 0.01).sum())
        # RT-DETR takes its 300 best places first, and to random weights many are equally good
        assert unlike <= (4 if "rtdetr" in name else 0)
    assert sum(map(len, expected)) > len(images), "too few boxes to prove anything"


@pytest.mark.slow
def test_the_class_filter_is_that_of_predict(tmp_path: Path, images: list[np.ndarray]) -> None:
    path = random_file("yolo26n", tmp_path, images)
    reference = Reference(path)
    conf = reference.median_conf(images) / 2
    found = detector(path, conf, classes=("class 2", "class 0"))
    assert found.names == ("class 0", "class 1", "class 2", "class 3")
    for image in images:
        np.testing.assert_allclose(rows(found([image])[0]), reference(image, conf, classes=[0, 2]), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_of_more_classes_than_a_label_map_holds_the_chosen_ones_are_offered(
    tmp_path: Path, images: list[np.ndarray]
) -> None:
    count = MAX_CLASSES + 50
    path = random_file("yolov8n", tmp_path, images, classes=count)
    reference = Reference(path)
    everything = np.concatenate([reference(image, 0.0) for image in images])
    chosen = sorted({int(i) for i in everything[:, 5]})[-5:]
    assert len(detector(path, 0.0).names) == count  # the dataset may choose, too
    found = detector(path, 0.0, classes=tuple(f"class {i}" for i in reversed(chosen)))
    assert found.names == tuple(f"class {i}" for i in chosen)
    for image in images:
        have, wanted = rows(found([image])[0]), reference(image, 0.0, classes=chosen)
        np.testing.assert_allclose(have[:, :5], wanted[:, :5], rtol=0, atol=1e-3)
        np.testing.assert_array_equal(np.array(chosen)[have[:, 5].astype(int)], wanted[:, 5])


@pytest.mark.slow
def test_world_finds_the_classes_that_are_set_in_its_file(tmp_path: Path, images: list[np.ndarray]) -> None:
    quiet_ultralytics()
    path = random_file("yolov8s-worldv2", tmp_path, images)
    checkpoint = torch.load(path, weights_only=False)
    model = checkpoint["model"].float()
    model.txt_feats = torch.nn.functional.normalize(torch.randn(1, 3, 512), dim=-1)  # as its set_classes leaves it
    model.model[-1].nc = 3
    model.names = ["cat", "red car", "sofa"]
    torch.save({**checkpoint, "model": model.half()}, path)
    found = detector(path, 0.001)
    assert found.names == ("cat", "red car", "sofa")
    for image in images:
        expected = Reference(path)(image, 0.001)
        assert len(expected)
        np.testing.assert_allclose(rows(found([image])[0]), expected, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_a_yoloe_in_which_no_classes_are_set_is_refused(tmp_path: Path, images: list[np.ndarray]) -> None:
    path = random_file("yoloe-11s", tmp_path, images)
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["model"].pe
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"random\.pt: no classes are set in this YOLOE; call its set_classes"):
        detector(path, 0.25)


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="no onnx and onnxruntime")
@pytest.mark.parametrize("name, dynamic", [("yolov8n", False), ("yolo26n", True), ("yolov8n-obb", False)])
def test_onnx_gives_the_boxes_of_its_own_predict(
    name: str, dynamic: bool, tmp_path: Path, images: list[np.ndarray]
) -> None:
    reference = Reference(random_file(name, tmp_path, images))
    exported = Path(reference.model.export(format="onnx", imgsz=128, dynamic=dynamic, simplify=False, verbose=False))
    reference = Reference(exported)
    conf = reference.median_conf(images)
    found = detector(exported, conf)
    assert found.names == tuple(f"class {i}" for i in range(4))
    for batched, image in zip(found(images), images):
        np.testing.assert_allclose(rows(batched), reference(image, conf), rtol=0, atol=0.01)


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="no onnx and onnxruntime")
def test_an_export_that_its_package_cannot_run_is_named(tmp_path: Path, images: list[np.ndarray]) -> None:
    reference = Reference(random_file("yolov8n", tmp_path, images))
    exported = Path(reference.model.export(format="onnx", imgsz=64, simplify=False, verbose=False))
    exported.write_bytes(exported.read_bytes().replace(b"Sigmoid", b"Zigmoid"))
    with pytest.raises(UserError, match=r"random\.onnx: cannot be run: "):
        detector(exported, 0.25)


@pytest.mark.slow
def test_torchscript_is_a_program_and_runs_only_when_trusted(tmp_path: Path, images: list[np.ndarray]) -> None:
    reference = Reference(random_file("yolov8n", tmp_path, images))
    exported = Path(reference.model.export(format="torchscript", imgsz=128, verbose=False))
    with pytest.raises(UserError, match=r"random\.torchscript: refused, since it is a program; --trust-weights"):
        detector(exported, 0.25)
    reference = Reference(exported)
    conf = reference.median_conf(images)
    found = detector(exported, conf, trust=True)
    for image in images:
        np.testing.assert_allclose(rows(found([image])[0]), reference(image, conf), rtol=0, atol=0.01)
    assert [len(each) for each, _, _ in found(images)] == pytest.approx(
        [len(found([image])[0][0]) for image in images], abs=1
    )


@pytest.mark.parametrize(
    "name, package", [("a.engine", "tensorrt"), ("a_openvino_model", "openvino"), ("a.onnx", "onnx")]
)
def test_an_export_without_its_package_names_it(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.mkdir() if name.endswith("_model") else path.write_bytes(b"x")
    monkeypatch.setattr("models.yolo_weights.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"{name}: to run it needs a package: pip install .*{package}"):
        detector(path, 0.25)


def test_exports_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.yolo_weights.find_spec", lambda name: True)
    for name in ("a.onnx", "b.torchscript", "c.engine"):
        (tmp_path / name).write_bytes(b"not at all")
        with pytest.raises(UserError, match=rf"{name}: not an export of Ultralytics"):
            detector(tmp_path / name, 0.25, trust=True)
    with pytest.raises(UserError, match=r"d\.onnx: no such weight file"):
        detector(tmp_path / "d.onnx", 0.25)
