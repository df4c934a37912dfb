"""Compiled passes give the masks of those that are not, and nothing is compiled in the midst of a run.

Graphs are captured as for any compiler, but run as they are (the backend `eager`): what a compiler makes of them is its
own affair.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.sam2_build import build_sam2
from models.sam2_compile import BUCKETS, CompiledForward
from models.sam2_forward import encode
from models.segmenter import Segmenter
from models.transfer import BoxMasks
from utils.errors import UserError

CONFIG = str(Path(__file__).parents[2] / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml")
SIDE = 128
SIZE = (90, 160)
"""Of all images."""
COUNTS = [0, 3, 140, 9, 1]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """Random weights whose masks cover a part of the image."""
    torch.manual_seed(0)
    model = build_sam2(CONFIG, SIDE)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 30
        head.layers[-1].bias.data = head.layers[-1].bias.data * 30 + 0.5
    return model


def batch(counts: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (9, 16, 3), np.uint8).repeat(10, 0).repeat(10, 1) for _ in counts]
    corners = [rng.uniform(0, (80, 40), (count, 2)) for count in counts]
    boxes = [np.hstack([corner, corner + rng.uniform(10, 50, corner.shape)]) for corner in corners]
    return images, [each.astype(np.float32) for each in boxes]


def assert_same(ones: list[BoxMasks], others: list[BoxMasks]) -> None:
    covered = 0
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        for a, b in zip(one.masks, other.masks, strict=True):
            assert (a.to_full(SIZE) != b.to_full(SIZE)).mean() < 1e-3
            covered += a.area
    assert covered or not any(one.masks for one in ones)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_compiled_masks_equal_eager_ones_and_no_shape_is_compiled_twice(
    precision: torch.dtype, model: torch.nn.Module
) -> None:
    torch._dynamo.reset()
    plain, compiled = (Segmenter(model, precision, 2**30) for _ in range(2))
    assert compiled.compile(3, backend="eager") > 0
    for counts in (COUNTS, [1], [0, 0], [5, 5, 5]) if precision == torch.float32 else ([3, 9], [1]):
        found = compiled(*batch(counts))
        if precision == torch.float32:
            assert_same(plain(*batch(counts)), found)
    assert compiled.summary_lines() == []


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
    assert_same(Segmenter(model, torch.float32, 2**30)(*batch([2])), segmenter(*batch([2])))
