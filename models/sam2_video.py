"""SAM2 on a clip: objects prompted by a box on one frame are found on the following ones.

Numerically the official `SAM2VideoPredictor` (sam2 1.1.0), whose methods do the work, one frame at a time, on frames
preprocessed like images. It follows one object after the other; here all tracks of a frame go through one forward pass,
in which those with equally large memories attend to them together. SAM2 looks back a few frames only, and at the frame
on which a track was prompted. Whatever is older is dropped after each frame, so memory does not grow with the length of
a clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor, nn

from models.device_limits import MPS_SCORES
from models.sam2_forward import Backbone, attend_to_memory, autocast, corners_of
from models.segmenter import not_finite, preprocess
from models.transfer import HostSync, masks_to_host_async, to_device, to_host_async
from utils.boxes import normalize
from utils.errors import RunError
from utils.masks import Mask

Tracked: TypeAlias = "tuple[Mask, float]"
"""A mask in pixels of the frame, empty if the object is not visible, and SAM2's estimate of its IoU."""

MAX_PIXELS = 2**26
"""Pixels of the masks that are scaled to the frame at a time: 32 masks of 1080p, 256 MiB as float32."""

Memory: TypeAlias = "dict[str, dict[int, dict[str, Any]]]"
"""What a track remembers, as SAM2 reads it: `cond_frame_outputs`, of the frame with its prompt, and
`non_cond_frame_outputs`, of frames after it; each by index, with features, positions and an object pointer."""


class VideoModel(SAM2VideoPredictor):
    """The official video predictor, changed to follow several tracks at once and to keep the mask scores.

    Attributes:
        mask_scores: (N,) each, the estimated IoUs of the masks predicted since the list was cleared.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.mask_scores: list[Tensor] = []
        self.non_overlap_masks_for_mem_enc = False  # concerns objects of one pass; officially each has its own
        for layer in self.memory_attention.layers:
            attention = layer.cross_attn_image
            if isinstance(attention, RoPEAttention) and attention.num_heads == 1:
                attention.forward = partial(attend_to_memory, attention)

    def _forward_sam_heads(self, *args: Any, **settings: Any) -> tuple[Tensor, ...]:
        found = super()._forward_sam_heads(*args, **settings)
        if torch.is_inference_mode_enabled():  # in training they would pile up with their graphs
            self.mask_scores.append(found[2].amax(dim=-1))  # of several masks, SAM2 takes the best
        return found

    def _prepare_memory_conditioned_features(self, *, output_dict: Memory | Sequence[Memory], **frame: Any) -> Tensor:
        """Return (N, C, h, w) features of a frame for N tracks, each conditioned on what it remembers.

        Args:
            output_dict: the memories of N tracks; a single one, as in training, is left to the original.
            frame: `current_vision_feats` and `current_vision_pos_embeds`, whose last level is (h * w, N, C), equal in
                all tracks; `feat_sizes`, and what else the original takes.
        """
        if isinstance(output_dict, dict):
            return super()._prepare_memory_conditioned_features(output_dict=output_dict, **frame)
        levels = ("current_vision_feats", "current_vision_pos_embeds")
        features, positions = (frame[name][-1] for name in levels)
        of_one = {**frame, **{name: [frame[name][-1][:, :1]] for name in levels}}
        inputs = [self._attention_inputs(memory, of_one) for memory in output_dict]
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # tracks that remember equally much
        for track, each in enumerate(inputs):
            groups[len(each["memory"]), each["num_obj_ptr_tokens"]].append(track)
        conditioned: dict[int, Tensor] = {}
        with self._first_layer_once():
            for (_, num_pointers), tracks in groups.items():
                joined = self.memory_attention(
                    curr=[features[:, : len(tracks)]],
                    curr_pos=[positions[:, : len(tracks)]],
                    memory=torch.cat([inputs[track]["memory"] for track in tracks], dim=1),
                    memory_pos=torch.cat([inputs[track]["memory_pos"] for track in tracks], dim=1),
                    num_obj_ptr_tokens=num_pointers,
                )
                conditioned |= zip(tracks, joined.unbind(1))
        in_order = torch.stack([conditioned[track] for track in range(len(inputs))])
        return in_order.transpose(1, 2).unflatten(2, frame["feat_sizes"][-1])

    def _attention_inputs(self, memory: Memory, frame: dict[str, Any]) -> dict[str, Any]:
        """Return what the original gives to the memory attention for one track; it is not run."""
        inputs: dict[str, Any] = {}

        def note(**given: Any) -> Tensor:
            inputs.update(given)
            return given["curr"][-1]

        with _replaced(self.memory_attention, note):
            super()._prepare_memory_conditioned_features(output_dict=memory, **frame)
        return inputs

    def _first_layer_once(self) -> AbstractContextManager[None]:
        """Compute the first self-attention for one track: it comes before all memory, so it is the same for all."""
        layer = self.memory_attention.layers[0].self_attn

        def once(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return type(layer).forward(layer, q[:1], k[:1], v[:1]).expand(len(q), -1, -1)

        return _replaced(layer, once)


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    """Give a module another forward pass for a while."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


class Propagator:
    """Follows the objects of one clip after the other.

    Args:
        model: in eval mode on its device.
        precision: torch.float32, or the 16-bit type of matrix products.
        non_overlap: assign each pixel to one track at most, that of the highest logit, like the official predictor's
            `non_overlap_masks`, with which SAM2 is evaluated on DAVIS.
        chunk_bytes: how much memory the tracks of one forward pass may take.
    """

    def __init__(
        self, model: VideoModel, precision: torch.dtype, *, non_overlap: bool = False, chunk_bytes: int = 2**30
    ) -> None:
        self.model, self.precision, self.non_overlap, self.chunk_bytes = model, precision, non_overlap, chunk_bytes
        self._most_chunk_bytes = chunk_bytes
        lookback = model.num_maskmem * model.memory_temporal_stride_for_eval
        self._window = max(lookback, model.max_obj_ptrs_in_encoder)
        self._size = (0, 0)
        self._frame: dict[str, Any] = {}  # of the official state, what concerns the clip and the frame
        self._memories: dict[int, Memory] = {}
        self._found: dict[int, tuple[Tensor, Tensor]] = {}  # logits (1, h, w), score (); of the frame

    @torch.inference_mode()
    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Backbone]:
        """Encode (H, W, 3) RGB frames, as many as fit into memory, as one batch; return the features of each."""
        with autocast(self.model.device, self.precision):
            whole = self.model.forward_image(preprocess(images, self.model.image_size, self.model.device))
        levels = {key: whole[key] for key in ("backbone_fpn", "vision_pos_enc")}
        return [{key: [level[i : i + 1] for level in each] for key, each in levels.items()} for i in range(len(images))]

    def reset(self, size: tuple[int, int], count: int) -> None:
        """Drop all tracks and begin a clip of `count` frames of a (height, width), like the official `init_state`."""
        device = self.model.device
        self.model.mask_scores.clear()
        self._size, self._memories, self._found = size, {}, {}
        self._frame = {"num_frames": count, "device": device, "storage_device": device, "constants": {}}

    @torch.inference_mode()
    def step(self, index: int, backbone: Backbone) -> dict[int, Tracked]:
        """Propagate all tracks to a later frame; return them by id.

        Args:
            index: position of the frame in the clip; frames that cannot be used may be skipped.
            backbone: from `encode`.

        Raises:
            RunError: the model's output is not finite in this precision.
        """
        self._frame["num_frames"] = max(self._frame["num_frames"], index + 1)  # a video may have more than it says
        self._frame["cached_features"] = {index: (torch.empty(1, 1, 1, 1), backbone)}
        self._found = {}
        for track_ids in self._groups([*self._memories]):
            memories = [self._memories[track_id] for track_id in track_ids]
            output = self._infer(track_ids, output_dict=memories, is_init_cond_frame=False, run_mem_encoder=True)
            for i, memory in enumerate(memories):
                frames = memory["non_cond_frame_outputs"]
                frames[index] = self._row(output, i)
                for old in [frame for frame in frames if frame <= index - self._window]:
                    del frames[old]
        return self._tracked([*self._memories])

    @torch.inference_mode()
    def add_boxes(self, boxes: Mapping[int, npt.NDArray[np.float32]]) -> dict[int, Tracked]:
        """Start tracks from boxes on the frame of the last `step`; one that exists is started anew.

        Args:
            boxes: (4,) x1 y1 x2 y2 in pixels of the frame, by track id.

        Returns:
            these tracks; with `non_overlap` all tracks of the frame, since they take pixels from each other.

        Raises:
            RunError: see `step`.
        """
        (index,), side, device = self._frame["cached_features"], self.model.image_size, self.model.device
        for track_ids in self._groups([*boxes]):
            in_model_pixels = normalize(np.stack([boxes[i] for i in track_ids]), self._size) * np.float32(side)
            points = dict(zip(("point_coords", "point_labels"), corners_of(to_device(in_model_pixels, device))))
            for track_id in track_ids:
                self.remove(track_id)  # with its memory, in which it has drifted; so a track has one prompt
            output = self._infer(
                track_ids, output_dict={}, is_init_cond_frame=True, run_mem_encoder=False, point_inputs=points
            )
            logits = F.interpolate(output["pred_masks"], (side, side), mode="bilinear", align_corners=False)
            with autocast(device, self.precision):
                output["maskmem_features"], output["maskmem_pos_enc"] = self.model._run_memory_encoder(
                    self._frame, index, len(track_ids), logits, output["object_score_logits"], is_mask_from_pts=True
                )
            for i, track_id in enumerate(track_ids):
                prompted = self._row(output, i)
                prompted["maskmem_features"] = prompted["maskmem_features"].clone()  # kept long, the others' are not
                self._memories[track_id] = {"cond_frame_outputs": {index: prompted}, "non_cond_frame_outputs": {}}
        return self._tracked([*self._found] if self.non_overlap and boxes else [*boxes])

    def remove(self, track_id: int) -> None:
        """Drop a track if it exists."""
        self._found.pop(track_id, None)
        self._memories.pop(track_id, None)

    def use_less_memory(self, images: int, reason: str) -> None:
        """Follow fewer tracks at a time, since memory was out; a frame can be repeated as a whole.

        Raises:
            RunError: they were followed one by one already.
        """
        if self._at_once == 1:
            advice = "choose a smaller dataloader.batch_size, smaller models or --device cpu"
            raise RunError(f"the GPU has too little memory to follow objects ({reason}); {advice}")
        self.chunk_bytes //= 2

    def use_more_memory(self) -> None:
        """Follow twice as many tracks at a time again, to see whether there is more memory by now."""
        self.chunk_bytes = min(2 * self.chunk_bytes, self._most_chunk_bytes)

    @property
    def _at_once(self) -> int:
        """Return how many tracks memory allows in one forward pass."""
        places = (self.model.image_size // 16) ** 2
        remembered = self.model.num_maskmem * places
        fitting = self.chunk_bytes // (24 * self.model.hidden_dim * remembered)  # about six float32 copies of the keys
        if self.model.device.type == "mps":
            fitting = min(fitting, (MPS_SCORES - 1) // (4 * places * (remembered + places)))
        return max(1, fitting)

    def _groups(self, track_ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Divide tracks among as few forward passes as memory allows."""
        at_once = self._at_once
        return (track_ids[start : start + at_once] for start in range(0, len(track_ids), at_once))

    def _infer(self, track_ids: Sequence[int], **how: Any) -> dict[str, Any]:
        """Find tracks on the frame; return the model's output, a row of each tensor for each."""
        ((index, _),) = self._frame["cached_features"].items()
        given = {"mask_inputs": None, "point_inputs": None, "reverse": False} | how
        with autocast(self.model.device, self.precision):
            output, logits = self.model._run_single_frame_inference(
                self._frame, frame_idx=index, batch_size=len(track_ids), **given
            )
        self._found |= zip(track_ids, zip(logits, self.model.mask_scores.pop().float()), strict=True)
        return output

    def _row(self, output: Mapping[str, Any], i: int) -> dict[str, Any]:
        """Return what one track remembers of a frame, in a type that autocast can use."""
        features = output["maskmem_features"][i : i + 1]
        if self.precision == torch.float16:  # SAM2 stores bfloat16, which does not mix with float16
            features = features.half()
        positions = [level[i : i + 1] for level in output["maskmem_pos_enc"]]
        return {"maskmem_features": features, "maskmem_pos_enc": positions, "obj_ptr": output["obj_ptr"][i : i + 1]}

    def _tracked(self, track_ids: Sequence[int]) -> dict[int, Tracked]:
        """Return the masks and scores of tracks on the frame."""
        if not track_ids:
            return {}
        at_once = max(1, MAX_PIXELS // (self._size[0] * self._size[1]))
        parts = torch.stack([self._found[track_id][0] for track_id in track_ids]).split(at_once)
        owners = _argmax_owner(parts, self._size) if self.non_overlap and len(track_ids) > 1 else None
        sent = to_host_async(torch.stack([self._found[track_id][1] for track_id in track_ids]))
        masks: list[Mask] = []
        for part in parts:
            masks += _masks(part, self._size, owners, len(masks))  # and waits, also for the scores
        scores = sent.numpy()
        if not np.isfinite(scores).all():
            raise not_finite(self.precision)
        return dict(zip(track_ids, zip(masks, scores.tolist())))


def _argmax_owner(parts: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Find the mask with the highest logit at each pixel, (H, W) int64; the first of equals.

    Args:
        parts: (N, 1, h, w) logits each; masks are numbered through all parts.
    """
    device, start = parts[0].device, 0
    best = torch.full(size, -torch.inf, device=device)
    owners = torch.zeros(size, dtype=torch.long, device=device)
    for part in parts:
        value, place = _scaled(part, size).max(dim=0)
        higher = value > best
        best, owners = torch.where(higher, value, best), torch.where(higher, place + start, owners)
        start += len(part)
    return owners


def _masks(logits: Tensor, size: tuple[int, int], owners: Tensor | None, start: int) -> list[Mask]:
    """Convert (N, 1, h, w) float32 logits on any device to masks of a (height, width) on the host.

    Args:
        owners: (H, W), the number of the mask that each pixel belongs to; None: masks may overlap.
        start: the number of the first of these masks.
    """
    full = _scaled(logits, size) > 0
    if owners is not None:
        full &= owners == torch.arange(start, start + len(full), device=full.device)[:, None, None]
    arrived = masks_to_host_async(full)
    HostSync(full.device).wait()
    return arrived()


def _scaled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale (N, 1, h, w) logits to (N, H, W), as the official predictor does."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)[:, 0]
