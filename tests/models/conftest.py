"""Checkpoints for the tests of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.ultralytics_quiet import quiet_ultralytics

REPOSITORY = Path(__file__).parents[2]
NAMES = ("car", "aeroplane", "dog", "sofa")


@pytest.fixture(scope="session")
def yolo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small YOLO with random weights, scaled so that most images get some boxes of every class."""
    quiet_ultralytics()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(str(REPOSITORY / "yolo/yolov8/yolov8-demo.yaml"), nc=len(NAMES), verbose=False)
    model.names = dict(enumerate(NAMES))
    texture = np.random.default_rng(0).uniform(0, 1, (8, 3, 6, 8)).astype(np.float32)
    images = torch.nn.functional.interpolate(torch.from_numpy(texture), (96, 128), mode="bilinear")
    with torch.no_grad():
        for _ in range(30):
            model(images)  # in training mode: the normalisation learns its statistics
        for boxes, classes in zip(model.model[-1].cv2, model.model[-1].cv3):
            boxes[-1].weight *= 2
            classes[-1].weight *= 2
        scores = model.eval()(images)[1]["scores"]
        for classes in model.model[-1].cv3:
            classes[-1].bias -= torch.quantile(scores.transpose(0, 1).flatten(1), 0.995, dim=1) + 0.5
    path = tmp_path_factory.mktemp("yolo") / "random.pt"
    torch.save({"model": model.half(), "train_args": {}}, path)
    return path
