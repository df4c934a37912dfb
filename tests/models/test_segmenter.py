"""The segmenter against the official SAM2ImagePredictor on the same weights."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.build_sam import build_sam2 as official_build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.transforms import SAM2Transforms

from datasets.voc import VocDataset
from models.sam2_build import build_sam2, load_sam2
from models.sam2_prepare import fit_to_device, simplify
from models.segmenter import Segmenter, not_finite, preprocess
from utils.errors import RunError, UserError

REPOSITORY = Path(__file__).parents[2]
DEMO_CONFIG = str(REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml")
DEMO_WEIGHTS = REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.pt"
OFFICIAL_TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
CPU = torch.device("cpu")
GIB = 2**30


SMALL = 352
"""An image size that takes a quarter of the time of the demo's; windows of attention do not divide either."""


def random_model(
    config: str, logit_scale: float, logit_shift: float, image_size: int | None = SMALL
) -> torch.nn.Module:
    """A model with random weights whose masks are blobs: random logits, scaled, and shifted to cover less.

    Args:
        image_size: None: the config's.
    """
    torch.manual_seed(1)
    model = build_sam2(config, image_size)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= logit_scale
        head.layers[-1].bias.data = head.layers[-1].bias.data * logit_scale - logit_shift
    return model


def pictures() -> list[np.ndarray]:
    """Images of three sizes made of even patches, so that features differ from place to place."""
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8) for height, width in SIZES]
    return [image.repeat(20, 0).repeat(20, 1) for image in small]


SIZES = [(360, 640), (500, 380), (360, 640), (200, 300)]


def random_boxes(counts: list[int]) -> list[np.ndarray]:
    """(N, 4) boxes for images of SIZES, at least 20 px wide and high."""
    rng = np.random.default_rng(2)
    found = []
    for (height, width), count in zip(SIZES, counts):
        corner = rng.uniform(0, [width - 100, height - 100], (count, 2))
        side = rng.uniform(20, [width, height], (count, 2))
        found.append(np.hstack([corner, np.minimum(corner + side, [width, height])]).astype(np.float32))
    return found


def official_masks(model: torch.nn.Module, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the official predictor gives: (N, H, W) bool and (N,) float32."""
    predictor = SAM2ImagePredictor(model)
    side = model.image_size // 4
    predictor._bb_feat_sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]  # it knows only 1024 px
    predictor.set_image(image)
    masks, scores, _ = predictor.predict(box=boxes, multimask_output=False)
    return masks.reshape(-1, *image.shape[:2]) > 0, scores.reshape(-1)


def assert_official(
    model: torch.nn.Module, images: list[np.ndarray], boxes: list[np.ndarray], fast: torch.nn.Module | None = None
) -> list[float]:
    """Compares all masks with the official ones; returns the share of its image that each mask covers.

    Args:
        fast: the model as it was prepared; None: as runs on a CPU prepare it.
    """
    coverage: list[float] = []
    if fast is None:
        fast = deepcopy(model)
        simplify(fast)
        fit_to_device(fast, torch.float32)
    for image, prompts, found in zip(images, boxes, Segmenter(fast, torch.float32, GIB)(images, boxes), strict=True):
        assert len(found.masks) == len(prompts)
        if not len(prompts):
            continue
        masks, scores = official_masks(model, image, prompts)
        np.testing.assert_allclose(found.scores, scores, atol=1e-4)
        for ours, theirs in zip(found.masks, masks, strict=True):
            full = ours.to_full(image.shape[:2])
            assert (full == theirs).mean() >= 0.9999
            assert (full & theirs).sum() >= 0.99 * (full | theirs).sum()
            coverage.append(theirs.mean())
    return coverage


@pytest.mark.slow
@pytest.mark.parametrize(("image_size", "counts"), [(None, [6]), (256, [2, 0, 1, 3])])
def test_masks_of_the_official_architecture_equal_the_official_predictors(
    image_size: int | None, counts: list[int]
) -> None:
    """Of its own 1024 px one image only, which takes ten seconds."""
    model = random_model(OFFICIAL_TINY, logit_scale=30, logit_shift=2, image_size=image_size)
    coverage = assert_official(model, pictures()[: len(counts)], random_boxes(counts))
    assert len(coverage) == 6
    assert 0.05 < min(coverage) < max(coverage) < 0.6


@pytest.mark.parametrize("logit_scale", [0.3, 30], ids=["unstable masks fall back to the best of three", "stable"])
def test_masks_of_another_image_size_equal_the_official_predictors(logit_scale: float) -> None:
    model = random_model(DEMO_CONFIG, logit_scale, 0.03 * logit_scale)
    coverage = assert_official(model, pictures(), random_boxes([4, 1, 0, 3]))
    assert len(coverage) == 8
    assert 0.05 < np.median(coverage) < 0.6


@pytest.mark.skipif(not DEMO_WEIGHTS.is_file(), reason="the embedded weights are not there")
def test_masks_of_the_embedded_model_equal_the_official_predictors() -> None:
    demo = VocDataset(REPOSITORY / "datasets" / "demo", "val", with_gt_instances=True)
    images = [demo.load(i).image for i in range(3)]
    boxes = [demo.load(i).gt_instances.detections.boxes for i in range(3)]
    coverage = assert_official(load_sam2(DEMO_CONFIG, DEMO_WEIGHTS, CPU), images, boxes)
    assert len(coverage) >= 3


def test_models_are_built_as_the_official_build_builds_them() -> None:
    ours, theirs = build_sam2(OFFICIAL_TINY), official_build_sam2(OFFICIAL_TINY, device="cpu")
    assert repr(ours) == repr(theirs)
    for name in ("via_stability", "stability_delta", "stability_thresh"):
        attribute = f"dynamic_multimask_{name}"
        assert getattr(ours.sam_mask_decoder, attribute) == getattr(theirs.sam_mask_decoder, attribute)
    assert not ours.training


def test_preprocessing_equals_the_official_transform() -> None:
    theirs = SAM2Transforms(resolution=512, mask_threshold=0).forward_batch(pictures())
    assert (preprocess(pictures(), 512, CPU) - theirs).abs().max() < 1e-5


@pytest.mark.slow
def test_many_boxes_are_decoded_in_chunks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(DEMO_CONFIG, logit_scale=30, logit_shift=1)
    images, boxes = pictures(), random_boxes([130, 0, 1, 20])
    whole = Segmenter(model, torch.float32, 64 * GIB)(images, boxes)
    sizes: list[int] = []
    decode = Segmenter._decode
    monkeypatch.setattr(
        Segmenter, "_decode", lambda self, f, i, boxes: sizes.append(len(boxes)) or decode(self, f, i, boxes)
    )
    chunked = Segmenter(model, torch.float32, GIB // 16)(images, boxes)
    assert sum(sizes) == 151
    assert len(sizes) > 5
    assert max(sizes) < 50
    for a, b, size in zip(whole, chunked, SIZES, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        flipped = [(x.to_full(size) != y.to_full(size)).mean() for x, y in zip(a.masks, b.masks, strict=True)]
        assert max(flipped, default=0) < 1e-4


def test_a_batch_without_any_box_gives_no_masks() -> None:
    results = Segmenter(build_sam2(DEMO_CONFIG), torch.float32, GIB)(pictures(), random_boxes([0, 0, 0, 0]))
    assert [(found.masks, found.scores.shape) for found in results] == [([], (0,))] * len(SIZES)


def test_an_image_with_two_sets_of_boxes_is_encoded_once_and_each_set_has_its_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = Segmenter(random_model(DEMO_CONFIG, logit_scale=30, logit_shift=1), torch.float32, GIB)
    images, first, second = pictures(), random_boxes([2, 0, 0, 3]), random_boxes([1, 2, 0, 0])
    apart = [segmenter(images, boxes) for boxes in (first, second)]
    encoded: list[int] = []
    encode = segmenter._passes.encode
    monkeypatch.setattr(segmenter._passes, "encode", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    sets = [boxes for of_image in zip(first, second) for boxes in of_image]
    together = segmenter.collect(segmenter.launch(images, sets, np.repeat(np.arange(4), 2)))
    assert sum(encoded) == 3  # the third image has no box
    for place, found in enumerate(together):
        alone, size = apart[place % 2][place // 2], SIZES[place // 2]
        assert len(found.masks) == len(alone.masks) == len(sets[place])
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        flipped = [(x.to_full(size) != y.to_full(size)).mean() for x, y in zip(found.masks, alone.masks)]
        assert max(flipped, default=0) < 1e-4


@pytest.mark.slow
def test_low_precision_gives_about_the_same_masks() -> None:
    model = random_model(DEMO_CONFIG, logit_scale=30, logit_shift=1)
    images, boxes = pictures(), random_boxes([4, 1, 0, 3])
    exact, rough = (Segmenter(model, kind, GIB)(images, boxes) for kind in (torch.float32, torch.bfloat16))
    agreement = [
        (x.to_full(size) == y.to_full(size)).mean()
        for a, b, size in zip(exact, rough, SIZES, strict=True)
        for x, y in zip(a.masks, b.masks, strict=True)
    ]
    assert np.median(agreement) > 0.97


def test_output_that_is_not_finite_is_refused_instead_of_becoming_empty_masks() -> None:
    model = random_model(DEMO_CONFIG, logit_scale=1, logit_shift=0)
    model.sam_mask_decoder.iou_prediction_head.layers[-1].bias.data[:] = torch.nan
    with pytest.raises(RunError, match=r"not finite in torch\.float32: the weights are damaged"):
        Segmenter(model, torch.float32, GIB)(pictures(), random_boxes([1, 0, 0, 0]))


def test_only_a_precision_that_overflows_is_advised_against() -> None:
    assert str(not_finite(torch.float16)).endswith("choose --precision bf16 or fp32")
    assert "--precision" not in str(not_finite(torch.bfloat16))


def test_a_model_is_built_without_a_gpu_though_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # then sam2 puts constants on the first one
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("a GPU was used"))
    assert build_sam2(DEMO_CONFIG, video=True).device == CPU
    assert torch.cuda.is_available()


def test_a_config_that_is_nowhere_or_no_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        build_sam2("nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    for text in ("model: {_target_: sam2.modeling.sam2_base.SAM2Base}", "[1, 2]", "model: [1]", "model: ${nothing}"):
        broken.write_text(text)
        with pytest.raises(UserError, match=r"broken\.yaml: sam2 cannot build a model"):
            build_sam2(str(broken))
    broken.write_text("no: yaml: at all\n")
    with pytest.raises(UserError, match=r"broken\.yaml: not a readable yaml config"):
        build_sam2(str(broken))
