"""What must hold on a GPU. Without one the same runs on the CPU, so that these tests themselves are tested."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from sam2.sam2_image_predictor import SAM2ImagePredictor

from benchmarks.gpu_check import clip_gate, waiting_gate
from models.device_limits import OomRetry
from models.sam2_forward import autocast
from models.sam2_prepare import simplify
from models.segmenter import Segmenter
from models.transfer import BoxMasks, HostSync, PackedMasks
from tests.helpers.segment import SIZE, images_and_boxes, random_image_model

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda:0" if GPU else "cpu")
only_on_a_gpu = pytest.mark.skipif(not GPU, reason="there is no GPU")


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return random_image_model(1024 if GPU else 128).to(DEVICE)


def stacked(found: list[BoxMasks]) -> np.ndarray:
    return np.stack([mask.to_full(SIZE) for each in found for mask in each.masks])


def official(model: torch.nn.Module, precision: torch.dtype, counts: list[int]) -> np.ndarray:
    """The masks of SAM2's own predictor, image by image."""
    predictor, side, found = SAM2ImagePredictor(model), model.image_size // 4, []
    predictor._bb_feat_sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]
    for image, boxes in zip(*images_and_boxes(counts)):
        with autocast(DEVICE, precision):
            predictor.set_image(image)
            masks, _, _ = predictor.predict(box=boxes, multimask_output=False)
        found += [*(masks.reshape(-1, *SIZE) > 0)]
    return np.stack(found)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_masks_are_those_of_the_official_predictor(
    precision: torch.dtype, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [3, 1, 9]
    if precision != torch.float32:  # where two masks are nearly equally stable, rounding decides which of them is taken
        monkeypatch.setattr(model.sam_mask_decoder, "dynamic_multimask_via_stability", False)
    exact = official(model, torch.float32, counts)
    ours = stacked(Segmenter(model, precision, 2**30)(*images_and_boxes(counts)))
    assert 0.02 < exact.mean() < 0.9
    if precision == torch.float32:
        assert (ours != exact).mean() < 1e-4
    else:
        rough = official(model, precision, counts)
        assert (ours != exact).mean() <= 1.2 * (rough != exact).mean() + 1e-3


@only_on_a_gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_compiled_masks_equal_eager_ones(precision: torch.dtype, model: torch.nn.Module) -> None:
    plain, compiled = (Segmenter(model, precision, 2**30) for _ in range(2))
    compiled.compile(4)
    expected, found = (stacked(each(*images_and_boxes([3, 40, 0, 1]))) for each in (plain, compiled))
    assert (expected != found).mean() < (1e-4 if precision == torch.float32 else 1e-2)
    compiled.use_less_memory(4, "no room")  # compiles once more, for half as many images
    assert (stacked(compiled(*images_and_boxes([3, 40, 0, 1]))) != found).mean() < 1e-3


def test_masks_that_travel_while_the_device_is_busy_are_the_masks() -> None:
    torch.manual_seed(0)
    weights = torch.randn(2048 if GPU else 64, 2048 if GPU else 64, device=DEVICE)
    sent, expected = [], []
    for i in range(20):
        for _ in range(10):
            weights = (weights @ weights).softmax(-1)
        full = torch.rand(5, 301, 403, device=DEVICE) > 0.2 + 0.03 * i
        sent.append(PackedMasks.from_masks(full))
        expected.append(full.clone())
        del full  # its memory may be used for the next ones at once
    HostSync(DEVICE).wait()
    for packed, full in zip(sent, expected):
        for mask, array in zip(packed.masks(), full.cpu().numpy(), strict=True):
            np.testing.assert_array_equal(mask.to_full((301, 403)), array)


def test_images_that_were_sent_ahead_have_the_same_masks(model: torch.nn.Module) -> None:
    segmenter, (images, boxes) = Segmenter(model, torch.float32, 2**30), images_and_boxes([3, 1, 0, 2])
    with ThreadPoolExecutor(1) as thread:
        sent = [thread.submit(segmenter.upload, images) for _ in range(5)]
    whole = stacked(segmenter(images, boxes))
    for upload in sent:
        found = segmenter.collect(segmenter.launch(upload.result().images(), boxes))
        np.testing.assert_array_equal(stacked(found), whole)


def test_halved_batches_give_equal_masks(model: torch.nn.Module) -> None:
    segmenter, (images, boxes) = Segmenter(model, torch.float32, 2**30), images_and_boxes([3, 1, 9, 2])
    whole, tried = stacked(segmenter(images, boxes)), []

    def launch(part: slice) -> list[BoxMasks]:
        tried.append(part.stop - part.start)
        if tried[-1] > 1:
            raise torch.OutOfMemoryError("no room")
        return segmenter(images[part], boxes[part])

    halved = [found for part in OomRetry(segmenter.use_less_memory)(4, launch) for found in part]
    assert tried[:3] == [4, 2, 1]
    assert (stacked(halved) != whole).mean() < 1e-4


@pytest.mark.slow
def test_tracks_are_those_of_the_official_predictor() -> None:
    gate = clip_gate(DEVICE.type, 1024 if GPU else 128)
    assert gate.passed, gate


@only_on_a_gpu
def test_the_host_waits_for_nothing_while_it_launches_a_batch() -> None:
    gate = waiting_gate("cuda", 1024)
    assert gate.passed, gate


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_simplified_model_is_as_near_to_float32(precision: torch.dtype, model: torch.nn.Module) -> None:
    exact, simpler = stacked(Segmenter(model, torch.float32, 2**30)(*images_and_boxes([3]))), deepcopy(model)
    before = stacked(Segmenter(model, precision, 2**30)(*images_and_boxes([3])))
    simplify(simpler)
    after = stacked(Segmenter(simpler, precision, 2**30)(*images_and_boxes([3])))
    assert (after != exact).mean() <= 1.2 * (before != exact).mean() + 1e-4
