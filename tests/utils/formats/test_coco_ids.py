from __future__ import annotations

from pathlib import Path

import yaml

from models.ultralytics_quiet import quiet_ultralytics
from utils.classes import COCO_CLASSES, COCO_IDS


def test_cocos_classes_and_ids_are_those_of_ultralytics() -> None:
    quiet_ultralytics()
    import ultralytics
    from ultralytics.data.converter import coco80_to_coco91_class

    assert list(COCO_IDS) == coco80_to_coco91_class()
    file = Path(ultralytics.__file__).parent / "cfg/datasets/coco.yaml"
    assert dict(enumerate(COCO_CLASSES)) == yaml.safe_load(file.read_text("utf-8"))["names"]
