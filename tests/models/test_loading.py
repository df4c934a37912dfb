"""The models of a config, used from Python."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.loading import Predictor
from tests.helpers.calibration import mean_of_scores
from utils.errors import UserError
from utils.structures import Instances

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
        ([image[:, :, 0]], rf"found \({height}, {width}\) uint8; np.dstack"),
        (image[:, :, 0], rf"found \({width},\) uint8; a single image goes into a list: \[image\]"),
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


@pytest.fixture(scope="module")
def photos() -> list[npt.NDArray[np.uint8]]:
    """Photos of the demo."""
    folder = REPOSITORY / "datasets/demo/JPEGImages"
    return [np.asarray(Image.open(folder / f"val_0000{i}.jpg")) for i in range(4)]


def boxes_and_masks(found: list[Instances]) -> list[tuple[list[list[float]], list[bytes]]]:
    """What was found, the boxes to a hundredth of a pixel: those of a batch differ in the last bit."""
    return [
        (each.detections.boxes.round(2).tolist(), [mask.to_full(each.size).tobytes() for mask in each.masks])
        for each in found
    ]


def test_threads_share_a_predictor(photos: list[npt.NDArray[np.uint8]]) -> None:
    predictor = Predictor(REPOSITORY / "config.json", device="cpu")
    batches = [photos[:1], photos[1:], photos[:2], photos[2:3]] * 2
    alone = [*map(predictor, batches)]
    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(predictor, batches)]
    assert [*map(boxes_and_masks, together)] == [*map(boxes_and_masks, alone)]
    assert all(len(each.masks) for found in alone for each in found)


def test_any_iterable_of_images_is_taken(photos: list[npt.NDArray[np.uint8]]) -> None:
    predictor = Predictor(REPOSITORY / "config.json", device="cpu")
    listed = boxes_and_masks(predictor(photos[:2]))
    assert boxes_and_masks(predictor(image for image in photos[:2])) == listed
    assert boxes_and_masks(predictor({"a": photos[0], "b": photos[1]}.values())) == listed


def test_the_precision_is_the_configs_whatever_surrounds_the_call(photos: list[npt.NDArray[np.uint8]]) -> None:
    predictor = Predictor(REPOSITORY / "config.json", "segmenter.precision=fp32", device="cpu")
    plain = predictor(photos[:1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        surrounded = predictor(photos[:1])
        assert torch.is_autocast_enabled("cpu")
    for name in ("boxes", "scores"):
        np.testing.assert_array_equal(getattr(surrounded[0].detections, name), getattr(plain[0].detections, name))
    np.testing.assert_array_equal(surrounded[0].mask_scores, plain[0].mask_scores)


def test_a_predictor_gives_the_expected_ious_of_a_calibration(
    tmp_path: Path, photos: list[npt.NDArray[np.uint8]]
) -> None:
    file = tmp_path / "calibration.json"
    calibration = mean_of_scores()
    file.write_text(json.dumps(calibration.content()))
    predictor = Predictor(REPOSITORY / "config.json", f"segmenter.calibration={file}", device="cpu")
    (found,) = predictor(photos[:1])
    expected = (found.detections.scores + found.mask_scores) / 2
    np.testing.assert_allclose(found.expected_ious, expected, atol=1e-6)
    file.write_text(json.dumps(mean_of_scores(SAM2="of others").content()))
    with pytest.raises(UserError, match="another SAM2 than"):
        Predictor(REPOSITORY / "config.json", f"segmenter.calibration={file}", device="cpu")
