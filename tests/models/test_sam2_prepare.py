"""A prepared model gives what the unprepared one gives, and does less: it casts no weight, for example."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from sam2.modeling.sam2_utils import MLP
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from models import sam2_prepare
from models.sam2_build import build_sam2
from models.sam2_forward import Features, autocast, decode, encode
from models.sam2_prepare import (
    PackedLinear,
    attend_by_products,
    cache_positions,
    can_pack,
    cast_weights,
    fit_to_device,
    simplify,
)
from tests.models.test_segmenter import CPU, DEMO_CONFIG

SIDE = 256
BOXES = torch.tensor([[20.0, 30, 120, 200], [60, 10, 250, 90], [5, 5, 250, 250]])


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_sam2(DEMO_CONFIG, SIDE)


@torch.inference_mode()
def outputs(model: torch.nn.Module, precision: torch.dtype = torch.float32) -> tuple[Features, torch.Tensor]:
    """Features of two images and logits of three boxes."""
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with autocast(CPU, precision):
        features = encode(model, pixels)
        return features, decode(model, features, torch.tensor([0, 1, 1]), BOXES)[0].float()


def prepared(model: torch.nn.Module, precision: torch.dtype = torch.float32) -> torch.nn.Module:
    model = deepcopy(model)
    simplify(model)
    fit_to_device(model, precision)
    return model


def test_a_prepared_model_gives_the_same_features_and_logits(plain: torch.nn.Module) -> None:
    (theirs, logits), (ours, our_logits) = outputs(plain), outputs(prepared(plain))
    for one, other in zip([theirs.embedding, *theirs.high_res], [ours.embedding, *ours.high_res], strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(other, one, atol=2e-5, rtol=0)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)


def test_clips_get_the_same_features_and_positions(plain: torch.nn.Module) -> None:
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        theirs, ours = plain.forward_image(pixels), prepared(plain).forward_image(pixels)
    for key in ("backbone_fpn", "vision_pos_enc"):
        for one, other in zip(theirs[key], ours[key], strict=True):
            torch.testing.assert_close(other, one, atol=2e-5, rtol=0)


def test_where_the_neck_passes_fine_levels_on_nothing_is_merged(plain: torch.nn.Module) -> None:
    model = deepcopy(plain)
    model.image_encoder.neck.fpn_top_down_levels = [0, 1, 2, 3]
    torch.testing.assert_close(outputs(prepared(model))[1], outputs(model)[1], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("by_products", [False, True])
def test_the_error_of_16_bits_does_not_grow(plain: torch.nn.Module, by_products: bool) -> None:
    model = prepared(plain, torch.bfloat16)
    if by_products:  # which is done of itself on CPUs that compute in bf16
        attend_by_products(model)
    exact, rough, ours = outputs(plain)[1], outputs(plain, torch.bfloat16)[1], outputs(model, torch.bfloat16)[1]
    error, of_plain = (ours - exact).abs().mean(), (rough - exact).abs().mean()
    assert 0 < error < 1.1 * of_plain


def test_attention_by_products_is_exact_in_fp32_with_and_without_pooled_queries(
    plain: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam2_prepare, "QUERIES", 100)  # several parts, the last one shorter
    model = deepcopy(plain)
    attend_by_products(model)
    torch.testing.assert_close(outputs(model)[0].embedding, outputs(plain)[0].embedding, atol=2e-5, rtol=0)


class WeightCasts(TorchDispatchMode):
    """Counts the casts of a model's weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
        layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
        self._places, self.count = {layer.weight.data_ptr() for layer in layers}, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and args and isinstance(args[0], torch.Tensor):
            self.count += result.dtype != args[0].dtype and args[0].data_ptr() in self._places
        return result


def test_weights_are_cast_once_instead_of_with_each_batch(plain: torch.nn.Module) -> None:
    model = deepcopy(plain)
    with WeightCasts(model) as each_time:
        before = outputs(model, torch.bfloat16)
    cast_weights(model, torch.bfloat16)
    with WeightCasts(model) as once:
        after = outputs(model, torch.bfloat16)
    assert each_time.count > 50
    assert once.count == 0
    assert torch.equal(before[0].embedding, after[0].embedding) and torch.equal(before[1], after[1])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cached_position_embeddings_change_no_bit(plain: torch.nn.Module, precision: torch.dtype) -> None:
    model = deepcopy(plain)
    with torch.no_grad():
        cache_positions(model)
        model.image_encoder.trunk.pos_embed.zero_()  # not looked at any more
    theirs, ours = outputs(plain, precision)[0], outputs(model, precision)[0]
    for one, other in zip([theirs.embedding, *theirs.high_res], [ours.embedding, *ours.high_res], strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no oneDNN")
def test_packed_weights_are_laid_out_once_and_the_activation_is_part_of_the_product(plain: torch.nn.Module) -> None:
    model = prepared(plain)
    for part in (model.image_encoder, model.sam_mask_decoder):
        assert not any(isinstance(module, nn.Linear) for module in part.modules())
    mlps = [module for module in model.image_encoder.modules() if isinstance(module, MLP)]
    assert [[layer.activation for layer in mlp.layers] for mlp in mlps] == [["gelu", "none"]] * len(mlps)
    layer = nn.Linear(48, 72)
    for rows in (1, 7, 5000):  # laid out for another number
        x = torch.randn(rows, 48)
        torch.testing.assert_close(PackedLinear(layer)(x), layer(x), atol=1e-5, rtol=0)


def test_a_torch_without_these_operators_computes_as_ever(
    plain: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: PackedLinear, layer: nn.Linear) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_reorder_linear_weight'")

    monkeypatch.setattr(PackedLinear, "__init__", missing)
    torch.testing.assert_close(outputs(prepared(plain))[1], outputs(plain)[1], atol=1e-5, rtol=0)
