"""The models of a config, used from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.loading import Predictor
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]


def test_a_predictor_refuses_what_is_no_image_and_names_it() -> None:
    predictor = Predictor(REPOSITORY / "config.json", "detector.imgsz=64", device="cpu")
    photo = Image.open(REPOSITORY / "datasets/demo/JPEGImages/val_00000.jpg")
    image = np.asarray(photo)
    height, width = image.shape[:2]
    wrong = [
        ([image, image / 255], rf"images\[1\]: .*found \({height}, {width}, 3\) float64$"),
        ([image.astype(np.uint16)], "uint16$"),
        (image, rf"images\[0\]: .*found \({width}, 3\) uint8; a single image goes into a list: \[image\]"),
        ([image[:, :, 0]], rf"found \({height}, {width}\) uint8; "),
        ([np.dstack([image, image[:, :, 0]])], rf"found \({height}, {width}, 4\) uint8$"),
        ([image.transpose(2, 0, 1)], rf"found \(3, {height}, {width}\) uint8$"),
        ([image[:0]], rf"found \(0, {width}, 3\) uint8$"),
        ([photo], "found JpegImageFile$"),
        ([None], "found NoneType$"),
    ]
    for images, said in wrong:
        with pytest.raises(UserError, match=said):
            predictor(images)
    assert len(predictor([image, image[:100, :50]])) == 2  # as many images as fit, of any size
