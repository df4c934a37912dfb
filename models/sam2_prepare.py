"""Prepare a SAM2 model for inference on single images and clips: the same results for less work.

The modules are changed in place, so the official code runs them. A prepared model cannot be trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sam2.modeling.backbones.hieradet import MultiScaleAttention, MultiScaleBlock, do_pool
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

PACKED_ROWS = 4096
"""For how many rows of input oneDNN lays out weights; other numbers are computed with the same layout."""

QUERIES = 512
"""How many queries attend at once where the scores of all would not stay in a CPU's cache."""


@torch.no_grad()
def simplify(model: SAM2Base) -> None:
    """Change a float32 model in eval mode so that it computes once what is the same for all images."""
    cache_positions(model)
    merge_projections(model)


@torch.no_grad()
def fit_to_device(model: SAM2Base, precision: torch.dtype, *, compiles: bool = False) -> None:
    """Lay out the weights of a model for its device, and for the precision of `autocast` in which it will run.

    Args:
        compiles: whether the model will be compiled; the compiler lays out weights by itself.
    """
    cast_weights(model, precision)
    if model.device.type == "cpu" and not compiles and can_pack(precision):
        pack_weights(model)
        if precision != torch.float32:
            attend_by_products(model)


def cache_positions(model: SAM2Base) -> None:
    """Compute the encoder's position embeddings once instead of once per image; the result is the same."""
    trunk, neck = model.image_encoder.trunk, model.image_encoder.neck
    side = model.image_size // trunk.patch_embed.proj.stride[0]
    cached = trunk._get_pos_embed((side, side))
    trunk._get_pos_embed = lambda size: cached
    neck.position_encoding = CachedPositions(neck.position_encoding)


class CachedPositions(nn.Module):
    """The neck's position embeddings, without a copy for each image and level."""

    def __init__(self, encoding: nn.Module) -> None:
        super().__init__()
        self._encoding = encoding
        self._cached: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, H, W) embeddings, the same memory for all images, for (B, c, H, W) features."""
        key = (*features.shape[-2:], features.dtype)
        if key not in self._cached:
            self._cached[key] = self._encoding(features[:1]).to(features.dtype)
        return self._cached[key].expand(len(features), -1, -1, -1)


def merge_projections(model: SAM2Base) -> None:
    """Merge each pair of 1x1 convolutions that make a fine level of the features: the neck's and the decoder's.

    Nothing lies between the two, so they are one linear map; the wide output of the first is never made.
    """
    neck, decoder = model.image_encoder.neck, model.sam_mask_decoder
    if not decoder.use_high_res_features or {0, 1} & set(neck.fpn_top_down_levels):
        return
    for level, name in enumerate(("conv_s0", "conv_s1")):
        first, second = neck.convs[-1 - level].conv, getattr(decoder, name)
        if first.kernel_size != (1, 1):
            continue
        # On the CPU, since MPS has no float64.
        outer, inner = (each.weight.cpu().flatten(1).double() for each in (second, first))
        bias = outer @ first.bias.cpu().double() + second.bias.cpu()
        merged = nn.Conv2d(first.in_channels, second.out_channels, 1)
        merged.weight = nn.Parameter((outer @ inner).float()[:, :, None, None].to(model.device))
        merged.bias = nn.Parameter(bias.float().to(model.device))
        neck.convs[-1 - level].conv = merged
        setattr(decoder, name, nn.Identity())


def cast_weights(model: SAM2Base, precision: torch.dtype) -> None:
    """Cast the weights of matrix products to the precision of `autocast`, which else does so at every call."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(precision)


def attend_by_products(model: SAM2Base) -> None:
    """Let the encoder attend by two 16-bit matrix products and a softmax in float32.

    torch's fused attention computes 16-bit inputs at the speed of float32 on CPUs.
    """
    for block in [each for each in model.modules() if isinstance(each, MultiScaleBlock)]:
        block.attn = AttentionByProducts(block.attn)


class AttentionByProducts(nn.Module):
    """`MultiScaleAttention` of sam2, see `attend_by_products`."""

    def __init__(self, attention: MultiScaleAttention) -> None:
        super().__init__()
        self.num_heads, self.q_pool = attention.num_heads, attention.q_pool
        self.qkv, self.proj = attention.qkv, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the (H, W) tokens of each of B windows: (B, H, W, C)."""
        height, width = x.shape[1:3]
        q, k, v = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.num_heads, -1)).unbind(2)
        if self.q_pool:
            q = do_pool(q.flatten(2).unflatten(1, (height, width)), self.q_pool)
            height, width = q.shape[1:3]
            q = q.flatten(1, 2).unflatten(2, (self.num_heads, -1))
        q, k, v = q.transpose(1, 2), k.permute(0, 2, 3, 1), v.transpose(1, 2)
        scale = q.shape[-1] ** -0.5
        parts = [(q_part @ k).float().mul_(scale).softmax(-1).to(v.dtype) @ v for q_part in q.split(QUERIES, 2)]
        return self.proj(torch.cat(parts, 2).transpose(1, 2).flatten(2).unflatten(1, (height, width)))


def can_pack(precision: torch.dtype) -> bool:
    """Return whether this torch and this CPU have oneDNN's linear layers in a precision, by a trial."""
    layer = nn.Linear(32, 32).to(precision)
    x = torch.linspace(-1, 1, 1024).to(precision).view(32, 32)
    try:
        packed = PackedLinear(layer)(x)
    except (AttributeError, RuntimeError):  # torch keeps these operators to itself, and may change them
        return False
    return torch.allclose(packed, layer(x), atol=1e-5 if precision == torch.float32 else 0.05)


def pack_weights(model: SAM2Base) -> None:
    """Lay out the weights of encoder and decoder as oneDNN multiplies them, once instead of at each call."""
    for part in (model.image_encoder, model.sam_mask_decoder):
        for module in [*part.modules()]:
            for name, child in [*module.named_children()]:
                if isinstance(child, nn.Linear):
                    setattr(module, name, PackedLinear(child))
                elif isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1):
                    setattr(module, name, PackedPointwise(child))
    for module in [each for each in model.image_encoder.modules() if isinstance(each, MLP)]:
        if isinstance(module.act, nn.GELU) and module.act.approximate == "none":
            for layer in module.layers[:-1]:
                layer.activation = "gelu"
            module.act = nn.Identity()


class PackedLinear(nn.Module):
    """A linear layer on a CPU, see `pack_weights`."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().flatten(1), PACKED_ROWS)
        self._bias, self._precision = layer.bias, layer.weight.dtype
        self.activation = "none"  # or "gelu", which follows in the same step

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        exact = "none" if self.activation == "gelu" else ""  # not the approximation by a hyperbolic tangent
        return torch.ops.mkldnn._linear_pointwise(
            x.to(self._precision), self._weight, self._bias, self.activation, [], exact
        )


class PackedPointwise(PackedLinear):
    """A convolution of a single pixel on a CPU, see `pack_weights`; the features of a pixel lie side by side."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
