"""SAM2's forward passes: the encoder, the mask decoder for many boxes of few images, attention to a clip's memory.

Numerically equal to `SAM2Base.forward_image` and `MaskDecoder.forward` of sam2 1.1.0 with one row of features per box
(`repeat_image=False`), but what depends on the image alone is computed once per image: in the first layer of the
decoder's transformer, all boxes of an image share its embedding and thus its projections to keys, values and queries;
from the second layer on the embedding differs from box to box.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F
from sam2.modeling.position_encoding import apply_rotary_enc
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from sam2.modeling.sam.transformer import Attention, TwoWayTransformer
    from sam2.modeling.sam2_base import SAM2Base

Backbone: TypeAlias = "dict[str, list[Tensor]]"
"""Output of SAM2's encoder: `backbone_fpn`, features from fine to coarse, and `vision_pos_enc`, their positions."""

CORNER_LABEL = 2  # the prompt encoder's label of a box's upper left corner; that of the lower right one follows

QUERIES_AT_ONCE = 256
"""Places of a frame that attend to the memory at a time on a CPU: of 28,736 places, 28 MiB of scores."""


@dataclass(frozen=True)
class Features:
    """Input of the mask decoder for B images of side S.

    Attributes:
        embedding: (B, C, S/16, S/16), including the no-memory embedding if the model adds it.
        high_res: (B, C/8, S/4, S/4) and (B, C/4, S/8, S/8); empty if the model does not use them.
    """

    embedding: Tensor
    high_res: list[Tensor]

    @property
    def box_bytes(self) -> int:
        """Estimate the memory that decoding a box takes: four copies of the features of its image."""
        return 4 * sum(level[0].nbytes for level in [self.embedding, *self.high_res])


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[None]:
    """Run matrix products in this precision inside a `with` block; torch.float32 changes nothing."""
    low = precision != torch.float32
    return torch.autocast(device.type, dtype=precision if low else torch.bfloat16, enabled=low)


def without_cudnn_attention() -> AbstractContextManager[object]:
    """Let attention be computed by others than cuDNN inside a `with` block, in which its shapes are ever new ones.

    On Hopper torch prefers cuDNN in 16 bit, which plans each new shape on the host, for longer than a batch takes.
    """
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def encode(model: SAM2Base, pixels: Tensor) -> Features:
    """Encode (B, 3, S, S) preprocessed images."""
    return features_of(model, model.forward_image(pixels))


def features_of(model: SAM2Base, backbone: Backbone) -> Features:
    """Select the decoder's input from the encoder's output, for images or frames without memory."""
    levels = backbone["backbone_fpn"][-model.num_feature_levels :]
    embedding = levels[-1]
    if model.directly_add_no_mem_embed:
        embedding = embedding + model.no_mem_embed.view(1, -1, 1, 1)
    return Features(embedding, list(levels[:-1]))


def decode(model: SAM2Base, features: Features, image_index: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Decode the masks of N boxes.

    Args:
        features: of B images.
        image_index: (N,) int64, the image each box is in.
        boxes: (N, 4) float32 xyxy in pixels of the model's input.

    Returns:
        logits (N, 4, S/4, S/4) of the single-mask token and the three multimask tokens, and scores (N, 4).
    """
    decoder = model.sam_mask_decoder
    sparse, dense = model.sam_prompt_encoder(points=corners_of(boxes), boxes=None, masks=None)
    own = [decoder.iou_token.weight, decoder.mask_tokens.weight]
    if decoder.pred_obj_scores:
        own.insert(0, decoder.obj_score_token.weight)
    tokens = torch.cat((torch.cat(own).expand(len(boxes), -1, -1), sparse), dim=1)
    image = (features.embedding + dense[:1]).flatten(2).transpose(1, 2)
    position = model.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    tokens, image = two_way_transformer(decoder.transformer, image, position, image_index, tokens)
    tokens = tokens[:, len(own) - 2 :]  # the score token, then the mask tokens
    side = features.embedding.shape[-1]
    planes = _upscaled(decoder, image.transpose(1, 2).unflatten(2, (side, side)), features, image_index)
    heads = zip(decoder.output_hypernetworks_mlps, tokens[:, 1:].unbind(1))
    weights = torch.stack([head(token) for head, token in heads], dim=1)
    logits = (weights @ planes.flatten(2)).unflatten(2, planes.shape[2:])
    return logits, decoder.iou_prediction_head(tokens[:, 0])


def corners_of(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, 4) boxes as SAM2 takes them: (N, 2, 2) corners, and (N, 2) int32 labels that tell which they are."""
    labels = torch.arange(CORNER_LABEL, CORNER_LABEL + 2, dtype=torch.int32, device=boxes.device)
    return boxes.reshape(-1, 2, 2), labels.expand(len(boxes), 2)


def select_single_mask(model: SAM2Base, logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Select from `decode`'s output like `multimask_output=False`: logits (N, S/4, S/4) and scores (N,)."""
    decoder = model.sam_mask_decoder
    if decoder.dynamic_multimask_via_stability:
        logits, scores = decoder._dynamic_multimask_via_stability(logits, scores)
    return logits[:, 0], scores[:, 0]


def two_way_transformer(
    transformer: TwoWayTransformer,
    image: Tensor,
    position: Tensor,
    image_index: Tensor,
    tokens: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer between the T tokens of N boxes and the P places of the images they are in.

    Args:
        image: (B, P, C) embeddings.
        position: (1, P, C), added to the image's keys and queries.
        image_index: (N,) int64, the image each box is in.
        tokens: (N, T, C).

    Returns:
        tokens (N, T, C) and image embeddings (N, P, C) of each box.
    """
    first, *others = transformer.layers
    queries = first.norm1(first.self_attn(tokens, tokens, tokens))
    to_image, to_tokens = first.cross_attn_token_to_image, first.cross_attn_image_to_token
    places = image + position
    keys, values = to_image.k_proj(places)[image_index], to_image.v_proj(image)[image_index]
    queries = first.norm2(queries + attention(to_image, to_image.q_proj(queries + tokens), keys, values))
    queries = first.norm3(queries + first.mlp(queries))
    asking = to_tokens.q_proj(places)[image_index]
    seen = attention(to_tokens, asking, to_tokens.k_proj(queries + tokens), to_tokens.v_proj(queries))
    image = first.norm4(image[image_index] + seen)
    for layer in others:
        queries, image = layer(queries=queries, keys=image, query_pe=tokens, key_pe=position)
    final = transformer.final_attn_token_to_image(q=queries + tokens, k=image + position, v=image)
    return transformer.norm_final_attn(queries + final), image


def attention(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Run an attention layer of sam2 on projected (N, T, c) queries and (N, P, c) keys and values: (N, T, C)."""
    split = [each.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for each in (queries, keys, values)]
    return attention.out_proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


def _upscaled(decoder: MaskDecoder, image: Tensor, features: Features, image_index: Tensor) -> Tensor:
    """Upscale (N, C, S/16, S/16) to (N, C/8, S/4, S/4), adding the finer features of each box's image on the way."""
    if not decoder.use_high_res_features:
        return decoder.output_upscaling(image)
    first, norm, activation, second, last = decoder.output_upscaling
    fine, middle = features.high_res
    image = activation(norm(first(image) + middle[image_index]))
    return last(second(image) + fine[image_index])


def attend_to_memory(attention: RoPEAttention, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Tensor:
    """Run SAM2's attention of one head from a frame to the memory; on a CPU, project the values after the softmax.

    The weights of a softmax add up to 1, so both orders give the same, and a memory has 64 channels where its
    projection has 256. Scores are float32 in any precision; a CPU has no faster products of this shape.

    Args:
        attention: of sam2; its other settings, and training, are left to the original.
        q: (N, P, C).
        k: (N, K, 64), of which the last `num_k_exclude_rope` have no place in the frame.
        v: (N, K, 64).
    """
    if attention.training or torch.is_grad_enabled() or q.device.type != "cpu":
        return RoPEAttention.forward(attention, q, k, v, num_k_exclude_rope)
    queries, keys = attention.q_proj(q)[:, None], attention.k_proj(k)[:, None]
    placed = keys.shape[2] - num_k_exclude_rope
    if len(attention.freqs_cis) != queries.shape[2]:
        side = queries.shape[2] ** 0.5
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    places = attention.freqs_cis.to(q.device)
    queries, rotated = apply_rotary_enc(queries, keys[:, :, :placed], places, repeat_freqs_k=attention.rope_k_repeat)
    seen = torch.empty(*q.shape[:2], v.shape[2])
    scale, one_dnn = queries.shape[-1] ** -0.5, torch.backends.mkldnn.is_available()
    with torch.autocast("cpu", enabled=False):
        for i in range(len(q)):
            asking, values = queries[i, 0].float() * scale, v[i].float()
            asked = torch.cat([rotated[i, 0], keys[i, 0, placed:]]).float()
            # oneDNN's layout for many products with one matrix; torch's own product takes a third longer.
            packed = torch.ops.mkldnn._reorder_linear_weight(asked, QUERIES_AT_ONCE) if one_dnn else asked
            for start in range(0, len(asking), QUERIES_AT_ONCE):
                part = slice(start, start + QUERIES_AT_ONCE)
                scores = (
                    torch.ops.mkldnn._linear_pointwise(asking[part], packed, None, "none", [], "")
                    if one_dnn
                    else F.linear(asking[part], asked)
                )
                seen[i, part] = scores.softmax(dim=-1) @ values
    return attention.out_proj(attention.v_proj(seen.to(q.dtype)))
