"""Compiled passes give the masks of those that are not, and nothing is compiled in the midst of a run.

Graphs are captured as for any compiler, but run as they are (the backend `eager`): what a compiler makes of them is its
own affair.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.device_limits import MAX_BATCH
from models.sam2_compile import BUCKETS, CompiledForward
from models.sam2_forward import encode
from models.segmenter import Segmenter
from models.transfer import BoxMasks
from models.windows import windows_of
from tests.helpers.segment import SIZE, images_and_boxes, random_image_model
from utils.errors import UserError

SIDE = 128
COUNTS = [0, 3, 140, 9, 1]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return random_image_model(SIDE)


def assert_same(ones: list[BoxMasks], others: list[BoxMasks]) -> None:
    covered = 0
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        for a, b in zip(one.masks, other.masks, strict=True):
            assert (a.to_full(SIZE) != b.to_full(SIZE)).mean() < 1e-3
            covered += a.area
    assert covered or not any(one.masks for one in ones)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_compiled_masks_equal_eager_ones_and_no_shape_is_compiled_twice(
    precision: torch.dtype, model: torch.nn.Module
) -> None:
    torch._dynamo.reset()
    plain, compiled = (Segmenter(model, precision, 2**30) for _ in range(2))
    assert compiled.compile(3, backend="eager") > 0
    for counts in (COUNTS, [1], [0, 0], [5, 5, 5]) if precision == torch.float32 else ([3, 9], [1]):
        found = compiled(*images_and_boxes(counts))
        if precision == torch.float32:
            assert_same(plain(*images_and_boxes(counts)), found)
    assert compiled.summary_lines() == []


def test_windows_of_any_number_are_encoded_by_the_graphs_of_a_full_batch(model: torch.nn.Module) -> None:
    torch._dynamo.reset()
    plain, compiled = (Segmenter(model, torch.float32, 2**30, windows_at_once=3) for _ in range(2))
    compiled.compile(3, backend="eager")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    for count in (1, 2, 7, 40):
        corners = rng.uniform(0, (560, 360), (count, 2))
        boxes = np.hstack([corners, corners + rng.uniform(10, 40, corners.shape)]).astype(np.float32)
        (ours,), (theirs,) = compiled([image], [boxes]), plain([image], [boxes])
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        for a, b in zip(ours.masks, theirs.masks, strict=True):
            assert (a.to_full((400, 600)) != b.to_full((400, 600))).mean() < 1e-3
    windows = windows_of(boxes, (400, 600), SIDE)
    assert len(np.unique(windows, axis=0)) > 10 and len(ours.masks) == 40 and any(mask.area for mask in ours.masks)
    assert compiled.summary_lines() == []


def test_torch_compiles_every_bucket_for_every_number_of_images_that_halving_leads_to(model: torch.nn.Module) -> None:
    numbers = [MAX_BATCH]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    with torch._dynamo.config.patch(cache_size_limit=8):  # its default, at which a pass raises
        CompiledForward(model, MAX_BATCH)
        assert torch._dynamo.config.cache_size_limit >= len(BUCKETS) * len(numbers)


def test_a_batch_that_was_cut_before_passes_were_halved_is_still_encoded(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, encoded = CompiledForward(model, 3), list[int]()
    monkeypatch.setattr(passes, "_encode", lambda pixels: encoded.append(len(pixels)) or [pixels])
    for images in (2, 3):
        passes.encode(torch.zeros(images, 3, SIDE, SIDE))
    passes.take_at_most(1)
    passes.encode(torch.zeros(3, 3, SIDE, SIDE))
    assert encoded == [3, 3, 3]


def test_only_passes_of_fixed_shapes_leave_attention_to_cudnn(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend, allowed = F.scaled_dot_product_attention, list[bool]()

    def noted(*tensors: torch.Tensor, **settings: float) -> torch.Tensor:
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return attend(*tensors, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    Segmenter(model, torch.float32, 2**30)(*images_and_boxes([2, 1]))
    assert len(allowed) > 10 and not any(allowed)
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_boxes_are_cut_into_buckets_with_little_padding(model: torch.nn.Module) -> None:
    passes = CompiledForward(model, 3)
    for count in (*range(1, 70), 127, 128, 129, 300, 1000):
        left, steps, filled = count, 0, 0
        while left:
            taken = passes.max_boxes(left)
            filled += max(taken, BUCKETS[-1]) - taken
            left, steps = left - taken, steps + 1
        assert filled < BUCKETS[-1]
        assert steps <= count // BUCKETS[0] + len(BUCKETS)


def test_only_what_memory_allows_is_compiled(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, sizes = CompiledForward(model, 1), []
    with torch.inference_mode():
        features = encode(model, torch.zeros(1, 3, SIDE, SIDE))
        monkeypatch.setattr(passes, "encode", lambda pixels: features)
        monkeypatch.setattr(passes, "decode", lambda features, image_index, boxes: sizes.append(len(boxes)))
        for boxes in (1000, 63.9, 0.5):
            passes.warm_up(int(boxes * features.box_bytes))
    assert sizes == [*BUCKETS, 32, 16, 8, 8]


def test_a_failing_compiler_is_reported_and_the_eager_passes_stay(model: torch.nn.Module) -> None:
    torch._dynamo.reset()
    segmenter = Segmenter(model, torch.float32, 2**30)
    with pytest.raises(UserError, match="cannot compile"):
        segmenter.compile(2, backend="no_such_backend")
    assert_same(Segmenter(model, torch.float32, 2**30)(*images_and_boxes([2])), segmenter(*images_and_boxes([2])))
