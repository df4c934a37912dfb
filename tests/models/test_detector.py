"""Boxes: those of YOLO against ultralytics' own predictor, those of prompt files against their rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models import yolo_detector
from models.detector import DETECTORS, DetectorBoxes, PromptFileBoxes, find_detector
from models.loading import RunModels, load_detector, run_classes
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_detector import YoloDetector, candidates
from models.yolo_weights import load_yolo
from utils.cli.options import Options
from utils.config import ArchConfig, Config, DatasetConfig, DetectorConfig
from utils.distributed import Session
from utils.errors import UserError
from utils.io.photos import read_image
from utils.prompts.prompts import Prompts, load_prompts
from utils.prompts.table import PromptOverrides
from utils.structures import Detections, Sample

REPOSITORY = Path(__file__).parents[2]
PHOTOS = REPOSITORY / "../shared/data/voc/JPEGImages"
DEMO_WEIGHTS = REPOSITORY / "yolo/yolov8/demo.pt"
DEMO_PHOTOS = REPOSITORY / "datasets/demo/JPEGImages"
NAMES = ("car", "airplane", "dog", "couch")  # partly other words for what the detector knows
SETTINGS = DetectorConfig(imgsz=128, max_det=200)
CONF = 0.25


def sample_of(image: np.ndarray, image_id: str = "a") -> Sample:
    return Sample(image_id, Path(f"{image_id}.jpg"), image)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Images of mixed shapes, among them one of a single row and one that letterboxes like another."""
    rng = np.random.default_rng(1)
    sizes = [(100, 150), (150, 100), (256, 256), (64, 300), (200, 300), (1, 300), (101, 150)]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    photos = sorted(PHOTOS.glob("*.jpg"))[:6] if PHOTOS.is_dir() else []
    return [sample_of(image) for image in (*images, *map(read_image, photos))]


def detector(path: Path, names: tuple[str, ...] = NAMES, settings: DetectorConfig = SETTINGS) -> DetectorBoxes:
    import torch

    config = Config(dataset=DatasetConfig(conf=CONF), detector=settings)
    return DetectorBoxes(YoloDetector(path, torch.device("cpu"), config), names, config.dataset.class_conf(names))


def assert_same_boxes(found: Detections, boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray) -> None:
    """Every box has its like among the others, whatever the order: rounding may swap two of almost the same score."""
    assert len(found) == len(boxes)
    if len(boxes):
        pixels = np.abs(found.boxes[:, None] - boxes[None]).max(axis=2)
        unlike = (found.class_ids[:, None] != class_ids[None]) | (np.abs(found.scores[:, None] - scores[None]) > 1e-4)
        distance = np.where(unlike, np.inf, pixels)
        assert distance.min(axis=0).max() < 0.01 and distance.min(axis=1).max() < 0.01


class Reference:
    """Ultralytics' own predictor."""

    def __init__(self, path: Path) -> None:
        quiet_ultralytics()
        from ultralytics import YOLO

        self.model = YOLO(str(path))

    def __call__(self, image: np.ndarray, settings: DetectorConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, class ids and scores of one image, without boxes of no area."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        limits = {"imgsz": settings.imgsz, "iou": settings.iou, "max_det": settings.max_det}
        limits["agnostic_nms"] = settings.agnostic_nms
        (result,) = self.model.predict(bgr, conf=CONF, verbose=False, **limits)
        boxes = result.boxes.xyxy.numpy()
        sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return boxes[sound], result.boxes.cls.numpy()[sound], result.boxes.conf.numpy()[sound]


def test_a_mixed_batch_gives_what_the_official_predictor_gives_for_each_image_alone(
    yolo_file: Path, samples: list[Sample]
) -> None:
    found, reference = detector(yolo_file)(samples), Reference(yolo_file)
    for sample, detections in zip(samples, found):
        assert_same_boxes(detections, *reference(sample.image, SETTINGS))
    assert sum(map(len, found)) > 3 * len(samples), "too few boxes to prove anything"


def test_nms_on_the_host_of_what_scores_enough_gives_the_same_boxes(yolo_file: Path, samples: list[Sample]) -> None:
    whole, part = detector(yolo_file), detector(yolo_file)
    part._detector._nms_on_host = True
    for a, b in zip(whole(samples), part(samples), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.class_ids, b.class_ids)


def test_images_for_a_gpu_are_letterboxed_side_by_side(
    yolo_file: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, priority: None)
    monkeypatch.setattr(yolo_detector, "_predictor_of", partial(on_the_cpu, yolo_detector._predictor_of))
    config, images = Config(detector=DetectorConfig(imgsz=128)), [sample.image for sample in samples[:4]]
    alone = YoloDetector(yolo_file, torch.device("cpu"), config)
    for_gpu, both = YoloDetector(yolo_file, torch.device("cuda:1"), config), threading.Barrier(2)
    pre_transform = for_gpu._predictor.pre_transform

    def noted(images: list[np.ndarray]) -> list[np.ndarray]:
        both.wait(60)  # another image is letterboxed at the same time
        return pre_transform(images)

    monkeypatch.setattr(for_gpu._predictor, "pre_transform", noted)
    assert sum(len(boxes) for boxes, _, _ in alone(images)) > 4
    for ours, theirs in zip(for_gpu(images), alone(images), strict=True):
        for found, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(found, expected)


def on_the_cpu(build: Callable[..., Any], model: object, task: str, head: str, device: object, how: dict) -> Any:
    """A predictor on the CPU, whatever the device."""
    return build(model, task, head, torch.device("cpu"), how)


def test_boxes_are_copied_on_the_stream_that_computes_them(
    yolo_file: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.engine.results import BaseTensor

    streams, copied = list[object](), list[bool]()

    @contextmanager
    def stream(chosen: object) -> Iterator[None]:
        streams.append(chosen)
        yield
        streams.pop()

    copy = BaseTensor.cpu
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(BaseTensor, "cpu", lambda boxes: copied.append(bool(streams)) or copy(boxes))
    assert sum(map(len, detector(yolo_file)(samples)))
    assert len(copied) == len(samples) and all(copied)


@pytest.mark.parametrize("count", [0, 1, 6, 7])
def test_as_many_candidates_as_columns_of_an_answer_without_nms_are_no_such_answer(count: int) -> None:
    from ultralytics.utils.nms import non_max_suppression

    answer = torch.zeros(2, 4 + 3, 20)
    answer[:, :4] = torch.arange(20) * 30 + torch.tensor([0, 0, 10, 10])[:, None]
    answer[0, 5, 3 : 3 + count] = 0.5
    for ours, theirs in zip(*(non_max_suppression(each) for each in (candidates(answer, 0.25), answer)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(not (DEMO_WEIGHTS.is_file() and DEMO_PHOTOS.is_dir()), reason="no embedded demo")
def test_the_embedded_weights_give_what_the_official_predictor_gives() -> None:
    names = tuple(load_yolo(DEMO_WEIGHTS).names.values())
    photos = sorted(DEMO_PHOTOS.glob("*.*"))[:6]
    samples, reference = [sample_of(read_image(photo)) for photo in photos], Reference(DEMO_WEIGHTS)
    found = detector(DEMO_WEIGHTS, names, DetectorConfig())(samples)
    for sample, detections in zip(samples, found):
        assert_same_boxes(detections, *reference(sample.image, DetectorConfig()))
    assert sum(map(len, found)) >= len(photos) > 0


def test_the_result_does_not_depend_on_the_batch(yolo_file: Path, samples: list[Sample]) -> None:
    found = detector(yolo_file)
    for alone, together in zip([found([sample])[0] for sample in samples], found(samples)):
        assert_same_boxes(alone, together.boxes, together.class_ids, together.scores)
    assert found([]) == []


def test_settings_reach_the_detector(yolo_file: Path, samples: list[Sample]) -> None:
    strict = DetectorConfig(imgsz=96, iou=0.3, max_det=3)
    few, reference = detector(yolo_file, settings=strict)(samples), Reference(yolo_file)
    for sample, detections in zip(samples, few):
        assert_same_boxes(detections, *reference(sample.image, strict))
    assert max(map(len, few)) == 3
    dogs = detector(yolo_file, settings=DetectorConfig(imgsz=128, classes=("Dog",)))(samples)
    assert set(np.concatenate([found.class_ids for found in dogs]).tolist()) == {2}


def test_boxes_of_all_classes_are_compared_on_request(yolo_file: Path, samples: list[Sample]) -> None:
    agnostic = DetectorConfig(imgsz=SETTINGS.imgsz, iou=0.3, agnostic_nms=True)
    few, reference = detector(yolo_file, settings=agnostic)(samples), Reference(yolo_file)
    for sample, detections in zip(samples, few):
        assert_same_boxes(detections, *reference(sample.image, agnostic))
    by_class = detector(yolo_file, settings=DetectorConfig(imgsz=SETTINGS.imgsz, iou=0.3))(samples)
    assert sum(map(len, few)) < sum(map(len, by_class))


def test_classes_are_matched_by_name_and_alias_and_unmapped_boxes_are_reported(
    yolo_file: Path, samples: list[Sample]
) -> None:
    whole, part = detector(yolo_file), detector(yolo_file, ("couch", "tree", "Aeroplane"))
    everything, some = whole(samples), part(samples)
    assert whole.summary_lines(Session()) == []
    lost: Counter[str] = Counter()
    for all_found, found in zip(everything, some):
        mapped = np.isin(all_found.class_ids, [1, 3])
        np.testing.assert_array_equal(found.boxes, all_found.boxes[mapped])
        np.testing.assert_array_equal(found.class_ids, np.array([-1, 2, -1, 0])[all_found.class_ids[mapped]])
        lost.update(NAMES[i] for i in all_found.class_ids[~mapped])
    (line,) = part.summary_lines(Session())
    assert "dropped" in line and f"car {lost['car']}" in line and f"dog {lost['dog']}" in line


def test_a_detector_without_a_class_of_the_dataset_is_refused(yolo_file: Path) -> None:
    with pytest.raises(UserError, match=r"share no class.*aeroplane.*zebra"):
        detector(yolo_file, ("zebra", "tree"))
    with pytest.raises(UserError, match=r"the dataset has c0, .*, c9 and 290 more\. python"):
        detector(yolo_file, [f"c{i}" for i in range(300)])
    with pytest.raises(UserError, match=r"detector\.classes\[1\].*dogg.*did you mean dog"):
        detector(yolo_file, settings=DetectorConfig(classes=("car", "dogg")))


def options(config: Config, prompt: Path | None = None) -> Options:
    return Options(config, ("visual",), (), prompt, "cpu", trust_weights=False)


def class_names(config: Config) -> tuple[str, ...]:
    import torch

    return run_classes(config.dataset, lambda: load_detector(config, torch.device("cpu"), trust=False).names).names


def test_class_names_are_the_datasets_or_else_the_detectors(yolo_file: Path) -> None:
    weights = ArchConfig(yolo_weights=yolo_file)
    assert class_names(Config(arch=weights)) == ("car", "aeroplane", "dog", "sofa")
    assert class_names(Config(dataset=DatasetConfig(classes=("a", "b")))) == ("a", "b")
    with pytest.raises(UserError, match=r"num_classes.*31.*make 5"):
        class_names(Config(arch=weights, dataset=DatasetConfig(num_classes=31)))
    with pytest.raises(UserError, match="yolo_weights: not set"):
        class_names(Config())
    with pytest.raises(UserError, match="300 classes, more than the 254"):
        class_names(Config(dataset=DatasetConfig(classes=tuple(f"c{i}" for i in range(300)))))


def test_every_name_of_a_detector_is_found_and_another_one_refused_with_the_nearest() -> None:
    assert [find_detector(name) for name in DETECTORS] == [*DETECTORS.values()]
    with pytest.raises(
        UserError, match=r'^arch\.yolo: must be yolov8 or ultralytics, not "yolo8"; did you mean yolov8\?$'
    ):
        find_detector("yolo8")
    with pytest.raises(UserError, match=r'must be yolov8 or ultralytics, not "detr"$'):
        find_detector("detr")


def prompt_file(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "prediction.json"
    path.write_text(json.dumps(rows), "utf-8")
    return path


def row(image_id: str, box: list[float], score: float = 0.9, category_id: int = 0) -> dict[str, object]:
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def images(*ids: str) -> SimpleNamespace:
    """The images of a run, small ones."""
    paths = [Path(f"{image_id}.jpg") for image_id in ids]
    return SimpleNamespace(ids=ids, paths=paths, sizes=lambda positions: [(20, 60)] * len(positions))


def prompted(path: Path, names: tuple[str, ...], *ids: str, conf: float | dict[str, float] = CONF) -> PromptFileBoxes:
    prompts = load_prompts(path, names, images(*ids), PromptOverrides())
    return PromptFileBoxes(prompts, DatasetConfig(conf=conf).class_conf(names))


def prompts_of(config: Config, path: Path, *ids: str) -> Prompts | None:
    """The prompts of a run, whose SAM2 weights are there."""
    return models_of(config, path, *ids).prompts


def models_of(config: Config, path: Path, *ids: str) -> RunModels:
    """The models of a run whose SAM2 weights are there."""
    weights = path.with_name("sam.pt")
    weights.touch()
    arch = replace(config.arch, sam_config="a.yaml", sam_weights=weights)
    return RunModels(options(replace(config, arch=arch), path), images(*ids), Session())


def test_scores_of_classes_leave_what_a_run_of_each_class_with_its_own_score_finds(
    yolo_file: Path, samples: list[Sample]
) -> None:
    """Ultralytics is asked once for each class, with that class's score."""
    conf = {name: CONF * (1 + i % 3) for i, name in enumerate(NAMES[:-1])} | {"*": CONF * 1.5}
    dataset = DatasetConfig(conf=conf)
    config = Config(arch=ArchConfig(yolo_weights=yolo_file), dataset=dataset, detector=SETTINGS)
    yolo = load_detector(config, torch.device("cpu"), trust=False)
    found = DetectorBoxes(yolo, NAMES, dataset.class_conf(NAMES))(samples)
    boxes = DetectorBoxes(yolo, NAMES, np.zeros(len(NAMES), np.float32))(samples)
    for class_id, name in enumerate(NAMES):
        config = Config(dataset=DatasetConfig(conf=conf.get(name, conf["*"])), detector=SETTINGS)
        alone = YoloDetector(yolo_file, torch.device("cpu"), config)
        for sample, kept in zip(samples, found):
            expected = alone([sample.image])[0]
            of_class, ours = expected[2] == class_id, kept[kept.class_ids == class_id]
            np.testing.assert_allclose(ours.scores, expected[1][of_class], rtol=1e-5)
    dropped = sum(map(len, boxes)) - sum(map(len, found))
    assert dropped > len(samples) and sum(map(len, found)) > len(samples), "too few boxes to prove anything"


def test_rows_of_a_prompt_file_must_score_higher_than_their_class_needs(tmp_path: Path) -> None:
    rows = [row("a", [1, 2, 30, 18], category_id=i, score=score) for i in range(3) for score in (0.2, 0.5, 0.8)]
    found = prompted(prompt_file(tmp_path, rows), ("a", "b", "c"), "a", conf={"a": 0.1, "c": 0.8, "*": 0.5})
    (kept,) = found([sample_of(np.zeros((20, 60, 3), np.uint8))])
    assert [*zip(kept.class_ids.tolist(), (10 * kept.scores).round().tolist())] == [(0, 2), (0, 5), (0, 8), (1, 8)]
    said = "rows that score not above what their class needs, 0.1 to 0.8, left out: 5"
    assert said in found.summary_lines(Session())[-1]


def test_a_prompt_file_takes_the_place_of_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = prompt_file(tmp_path, [row("a", [1, 2, 3, 4])])
    config = Config(arch=ArchConfig(yolo_weights=tmp_path / "missing.pt"), dataset=DatasetConfig(classes=("x",)))
    models = models_of(config, path, "a")
    assert models.class_map.names == ("x",)
    (detections,) = models._box_source()([sample_of(np.zeros((9, 9, 3), np.uint8))])
    np.testing.assert_array_equal(detections.boxes, [[1, 2, 3, 4]])
    assert "bbox is xyxy, category ids count from 0" in capsys.readouterr().out


def test_the_class_filter_is_that_of_prompts_too(tmp_path: Path) -> None:
    path = prompt_file(tmp_path, [row("a", [1, 2, 3, 4], category_id=i) for i in range(3)])
    config = Config(dataset=DatasetConfig(classes=NAMES), detector=DetectorConfig(classes=("plane", "Airplane", "dog")))
    prompts = prompts_of(config, path, "a")
    assert prompts is not None and prompts.class_ids.tolist() == [1, 2]


def test_what_else_a_prompt_file_may_mean_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = range(1, len(NAMES))
    path = prompt_file(tmp_path, [row("a", [1, 2, 3, 4], category_id=i) for i in ids])
    config = Config(dataset=DatasetConfig(classes=NAMES))
    prompts = prompts_of(config, path, "a")
    assert prompts is not None and prompts.class_ids.tolist() == [*ids]
    captured = capsys.readouterr()
    assert captured.err.startswith(f"warning: {path}: ") and "--category-offset 1" in captured.err
    assert "warning" not in captured.out


def test_prompts_are_joined_by_exact_id_in_file_order_without_a_cap(tmp_path: Path) -> None:
    many = [row("007", [i % 50, 0, i % 50 + 5, 9], score=0.3 + i / 10000, category_id=i % 3) for i in range(1000)]
    path = prompt_file(tmp_path, [*many, row("7", [0, 0, 1, 1]), row("../../x", [0, 0, 1, 1])])
    found = prompted(path, ("a", "b", "c"), "007", "none")
    first, none = found([sample_of(np.zeros((20, 60, 3), np.uint8), image_id) for image_id in ("007", "none")])
    np.testing.assert_array_equal(first.boxes, np.array([entry["bbox"] for entry in many], np.float32))
    np.testing.assert_array_equal(first.class_ids, [i % 3 for i in range(1000)])
    assert len(none) == 0
    assert found.summary_lines(Session()) == ["prompts: rows for images outside the run, left out: 2"]


def test_unsound_prompts_are_clipped_or_dropped_and_counted(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    boxes = [
        [-5, 2, 30, 8],  # clipped
        [1, 2, 3, 4],
        [nan, 0, 5, 5],
        [0, 0, inf, 5],
        [0, 0, 1e300, 5],  # more than float32 holds
        [6, 2, 3, 4],  # inverted
        [3, 2, 3, 4],  # no area
        [50, 50, 60, 60],  # outside
    ]
    found = prompted(prompt_file(tmp_path, [row("a", box) for box in boxes]), ("x",), "a")
    (detections,) = found([sample_of(np.zeros((10, 20, 3), np.uint8))])
    np.testing.assert_array_equal(detections.boxes, [[0, 2, 20, 8], [1, 2, 3, 4]])
    clipped, dropped = found.summary_lines(Session())
    assert "clipped" in clipped and clipped.endswith(": 1")
    assert "dropped" in dropped and dropped.endswith(": 6")


def test_prompts_must_score_higher_than_conf_as_ultralytics_has_it(tmp_path: Path) -> None:
    rows = [row("a", [0, 0, i + 1, 5], score) for i, score in enumerate((0.2, 0.25, 0.2501, 1.0))]
    found = prompted(prompt_file(tmp_path, rows), ("x",), "a")
    (detections,) = found([sample_of(np.zeros((10, 20, 3), np.uint8))])
    np.testing.assert_array_equal(detections.boxes[:, 2], [3, 4])
    assert found.summary_lines(Session()) == ["prompts: rows that score not above 0.25, left out: 2"]


OFFLINE = """
import sys
import numpy as np
from functools import partial
from pathlib import Path
events = []
sys.addaudithook(lambda name, arguments: name.startswith(("socket.connect", "socket.getaddr")) and events.append(name))
sys.addaudithook(lambda name, arguments: name == "subprocess.Popen" and "pip" in str(arguments) and events.append(name))
import cv2
threads = cv2.getNumThreads()
import torch
from models.detector import DetectorBoxes
from models.yolo_detector import YoloDetector, candidates
from utils.config import Config, DetectorConfig
from utils.structures import Sample
detector = YoloDetector(Path(sys.argv[1]), torch.device("cpu"), Config(detector=DetectorConfig(imgsz=64)))
DetectorBoxes(detector, ("dog",), np.zeros(1, np.float32))([Sample("a", Path("a"), np.zeros((64, 64, 3), np.uint8))])
from ultralytics.utils import events as analytics, SETTINGS
assert not analytics.events.enabled and not SETTINGS["sync"] and not SETTINGS["mlflow"], "telemetry is on"
assert cv2.getNumThreads() == threads
import PIL.Image, pytest
with pytest.raises(PIL.UnidentifiedImageError):  # and nothing about a package to be installed
    PIL.Image.open(__import__("io").BytesIO(b"no image"))
assert not events, events
"""


@pytest.mark.slow
def test_ultralytics_neither_connects_nor_installs_nor_writes_beside_the_run(tmp_path: Path, yolo_file: Path) -> None:
    (tmp_path / "tmp").mkdir()
    places = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "tmp", "PYTHONPATH": REPOSITORY}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    for name in ("YOLO_OFFLINE", "YOLO_CONFIG_DIR", "YOLO_AUTOINSTALL", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    command = [sys.executable, "-c", OFFLINE, str(yolo_file)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "tmp"]
    assert not list((tmp_path / "tmp").glob("ultralytics*"))


THREADS = """
import os, sys
from pathlib import Path
from models.yolo_detector import YoloDetector
from utils.config import Config, DetectorConfig
import torch
YoloDetector(Path(sys.argv[1]), torch.device("cpu"), Config(detector=DetectorConfig(imgsz=64)))
print(torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))
"""


@pytest.mark.slow
def test_a_detector_leaves_torch_and_later_processes_as_many_threads_as_they_have_alone(yolo_file: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    for more in ({}, {"OMP_NUM_THREADS": "3"}):
        command = partial(subprocess.check_output, env=environment | more, cwd=REPOSITORY, text=True)
        counted = "import os, torch; print(torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS'))"
        alone = command([sys.executable, "-c", counted])
        assert command([sys.executable, "-c", THREADS, str(yolo_file)]) == alone
