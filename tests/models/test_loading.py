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
from sam2.sam2_image_predictor import SAM2ImagePredictor

from models.loading import Predictor
from models.sam2_build import load_sam2
from tests.helpers.calibration import mean_of_scores
from tests.helpers.track import DEMO_CONFIG
from utils.errors import UserError
from utils.structures import Instances

REPOSITORY = Path(__file__).parents[2]
DEMO_WEIGHTS = REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.pt"


def test_a_predictor_refuses_what_is_no_image_and_names_it() -> None:
    predictor = Predictor(REPOSITORY / "config.json", "detector.imgsz=64", device="cpu")
    photo = Image.open(REPOSITORY / "datasets/demo/JPEGImages/val_00000.jpg")
    image = np.asarray(photo)
    height, width = image.shape[:2]
    wrong = [
        ([image, image / 255], rf"images\[1\]: .*found \({height}, {width}, 3\) float64$"),
        ([image.astype(np.uint16)], "uint16$"),
        (image, r"a single image goes into a list, too: \[image\]"),
        (photo, "a single image goes into a list"),
        ("photo.jpg", "a single image goes into a list"),
        ([image[:, :, 0]], rf"found \({height}, {width}\) uint8; np.dstack"),
        (image[:, :, 0], "a single image goes into a list"),
        ([np.dstack([image, image[:, :, 0]])], rf"found \({height}, {width}, 4\) uint8$"),
        ([image.transpose(2, 0, 1)], rf"found \(3, {height}, {width}\) uint8$"),
        ([image[:0]], rf"found \(0, {width}, 3\) uint8$"),
        ([None], "found NoneType$"),
        ([image, "nowhere.jpg"], r"images\[1\]: nowhere\.jpg: No such file"),
        ([REPOSITORY / "config.json"], r"config\.json: not an image"),
        ([Image.new("F", (3, 3))], "floating-point"),
        ([Image.new("RGB", (0, 3))], r"images\[0\]: it has no pixels$"),
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


def test_files_and_images_of_pillow_are_read_as_in_a_run(photos: list[npt.NDArray[np.uint8]], tmp_path: Path) -> None:
    turned, grey = tmp_path / "turned.png", tmp_path / "grey.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(photos[0])).save(turned, exif=exif)
    Image.fromarray(photos[1][:, :, 0]).save(grey)
    arrays = [photos[0], np.dstack([photos[1][:, :, 0]] * 3)]
    predictor = Predictor(REPOSITORY / "config.json", device="cpu")
    expected = boxes_and_masks(predictor(arrays))
    assert boxes_and_masks(predictor([turned, str(grey)])) == expected
    assert boxes_and_masks(predictor([Image.open(turned), Image.open(grey)])) == expected
    assert boxes_and_masks(predictor([turned, arrays[1]])) == expected
    Image.new("RGB", (1001, 1000)).save(large := tmp_path / "large.png")
    with pytest.raises(UserError, match=r"large\.png: it has 1001 x 1000 pixels, .*raise it"):
        Predictor(REPOSITORY / "config.json", "dataloader.max_megapixels=1", device="cpu")([large])
    Predictor(REPOSITORY / "config.json", device="cpu")([large])


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


def test_boxes_of_a_call_take_the_place_of_the_detectors(photos: list[npt.NDArray[np.uint8]]) -> None:
    predictor = Predictor(REPOSITORY / "config.json", device="cpu")
    found = predictor(photos[:3])
    boxes, class_ids = [each.detections.boxes for each in found], [each.detections.class_ids for each in found]
    assert boxes_and_masks(predictor(photos[:3], boxes, class_ids)) == boxes_and_masks(found)
    tensors = [torch.from_numpy(each) for each in boxes], [torch.from_numpy(each).float() for each in class_ids]
    assert boxes_and_masks(predictor(photos[:3], *tensors)) == boxes_and_masks(found), "as Ultralytics has them"
    learnt = [each.clone().requires_grad_() for each in tensors[0]], [each.bfloat16() for each in tensors[1]]
    assert boxes_and_masks(predictor(photos[:3], *learnt)) == boxes_and_masks(found), "from a model in training"
    lists = [each.tolist() for each in boxes], [[4] * len(each) for each in class_ids]
    other = predictor(photos[:3], *lists)
    assert boxes_and_masks(other) == boxes_and_masks(found)
    assert [each.detections.class_ids.tolist() for each in other] == lists[1]
    none, one = predictor(photos[:2], [[], boxes[1][:1]], [[], [0]])
    assert len(none.masks) == 0 and boxes_and_masks([one])[0][1] == boxes_and_masks(found[1:2])[0][1][:1]
    assert boxes_and_masks(predictor(photos[:3])) == boxes_and_masks(found), "the next call asks the detector again"


def test_masks_of_boxes_of_a_call_are_those_of_the_official_predictor(photos: list[npt.NDArray[np.uint8]]) -> None:
    settings = ("segmenter.precision=fp32", "segmenter.backend=torch", 'dataset.class_map={"car": "vehicle"}')
    predictor = Predictor(REPOSITORY / "config.json", *settings, device="cpu", detector=False)
    boxes = np.array([[20, 30, 200, 160], [50.5, 10, 90, 400]])
    official = SAM2ImagePredictor(load_sam2(DEMO_CONFIG, DEMO_WEIGHTS, torch.device("cpu")))
    side = official.model.image_size // 4
    official._bb_feat_sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]  # it knows only 1024 px
    official.set_image(photos[0])
    masks, scores, _ = official.predict(
        box=np.clip(boxes, 0, np.tile(photos[0].shape[1::-1], 2)), multimask_output=False
    )
    (found,) = predictor([photos[0]], [boxes], [[0, 2]])
    for mask, expected in zip(found.masks, masks.reshape(2, *photos[0].shape[:2]), strict=True):
        np.testing.assert_array_equal(mask.to_full(found.size), expected > 0)
    np.testing.assert_allclose(found.mask_scores, scores.ravel(), atol=1e-5)
    assert predictor.class_names[0] == "vehicle" and found.detections.class_ids.tolist() == [0, 2]


def test_boxes_that_do_not_fit_are_refused(photos: list[npt.NDArray[np.uint8]]) -> None:
    predictor = Predictor(REPOSITORY / "config.json", device="cpu", detector=False)
    height, width = photos[0].shape[:2]
    box = [10, 10, 50, 50]
    wrong: list[tuple[tuple[object, ...], str]] = [
        ((), "boxes and class_ids are missing: this Predictor has no detector"),
        (([[box]],), "as images, found images: 1, boxes: 1, class_ids: None"),
        (([[box], [box]], [[0], [0]]), "found images: 1, boxes: 2, class_ids: 2"),
        (
            ([box], [[0]]),
            r"boxes\[0\] and class_ids\[0\]: expected shapes \(N, 4\) and \(N,\), found \(4,\) and \(1,\)",
        ),
        (([[box]], [0]), r"found \(1, 4\) and \(\)"),
        (([[box, box]], [[0]]), r"found \(2, 4\) and \(1,\)"),
        (([[box]], [[5]]), r"class_ids\[0\]: expected 0 to 4, found \[5.0\]"),
        (([[box]], [[0.5]]), "found"),
        (
            ([[box, [10, 10, 5, 50]]], [[0, 0]]),
            rf"boxes\[0\]\[1\]: \[10.0, .*\] is no .* {width} x {height}",
        ),
        (([[[width, 0, width + 9, 9]]], [[0]]), "is no x1 y1 x2 y2 in an image"),
        (([[[np.nan] * 4]], [[0]]), "is no x1 y1 x2 y2"),
        (([[box, box[:2]]], [[0, 0]]), r"boxes\[0\] and class_ids\[0\]: .*inhomogeneous"),
        (([[["left", *box[1:]]]], [[0]]), r"boxes\[0\] and class_ids\[0\]: could not convert"),
    ]
    for given, said in wrong:
        with pytest.raises(UserError, match=said):
            predictor(photos[:1], *given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"dataset\.classes: must be set for a Predictor without a detector"):
        Predictor(REPOSITORY / "config.json", "dataset.classes=null", device="cpu", detector=False)


def test_a_predictor_leaves_the_random_state_of_its_caller_alone(photos: list[npt.NDArray[np.uint8]]) -> None:
    state = torch.get_rng_state()
    Predictor(REPOSITORY / "config.json", device="cpu")(photos[:1])
    assert torch.equal(torch.get_rng_state(), state)
