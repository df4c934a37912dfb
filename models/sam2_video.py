"""SAM2 on a clip: objects prompted by a box on one frame are found on the following ones.

The official `SAM2VideoPredictor` (sam2 1.1.0) does the tracking, one frame at a time, on frames preprocessed like
images. It looks back a few frames only, and at the frame on which a track was prompted. Whatever is older is dropped
after each frame, so masks equal the official ones and memory does not grow with the length of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sam2 import sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from models.sam2_forward import Backbone, autocast
from models.segmenter import not_finite, preprocess
from models.transfer import HostSync, masks_to_host_async
from utils.masks import Mask

Tracked: TypeAlias = "tuple[Mask, float]"
"""A mask in pixels of the frame, empty if the object is not visible, and SAM2's estimate of its IoU."""

MAX_PIXELS = 2**26
"""Pixels of the masks that are scaled to the frame at a time: 32 masks of 1080p, 256 MiB as float32."""


def _no_progress(frames: Iterable[int], **_: Any) -> Iterable[int]:
    return frames


sam2_video_predictor.tqdm = _no_progress  # it would show a bar for every frame; the run has its own


class VideoModel(SAM2VideoPredictor):
    """The official video predictor, changed to keep the mask scores and to skip work whose result is not used.

    Attributes:
        mask_scores: (1,) each, the estimated IoUs of the masks predicted since the list was cleared.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.mask_scores: list[Tensor] = []

    def _forward_sam_heads(self, *args: Any, **settings: Any) -> tuple[Tensor, ...]:
        found = super()._forward_sam_heads(*args, **settings)
        if torch.is_inference_mode_enabled():  # in training they would pile up with their graphs
            self.mask_scores.append(found[2].amax(dim=-1))  # of several masks, SAM2 takes the best
        return found

    def _consolidate_temp_output_across_obj(
        self, inference_state: dict[str, Any], frame_idx: int, **_: Any
    ) -> dict[str, Tensor]:
        """Return the mask of the last object; the original scales those of all objects to the video at each prompt."""
        last = inference_state["temp_output_dict_per_obj"][len(inference_state["obj_ids"]) - 1]
        return {"pred_masks_video_res": last["cond_frame_outputs"][frame_idx]["pred_masks"]}

    def _get_orig_video_res_output(
        self, inference_state: dict[str, Any], any_res_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the masks unscaled; the original scales those of all objects to the video at once, as floats."""
        return any_res_masks, any_res_masks


class Propagator:
    """Follows the objects of one clip after the other.

    Args:
        model: in eval mode on its device.
        precision: torch.float32, or the 16-bit type of matrix products.
        non_overlap: assign each pixel to one track at most, that of the highest logit, like the official predictor's
            `non_overlap_masks`, with which SAM2 is evaluated on DAVIS.
    """

    def __init__(self, model: VideoModel, precision: torch.dtype, *, non_overlap: bool = False) -> None:
        self.model, self.precision, self.non_overlap = model, precision, non_overlap
        lookback = model.num_maskmem * model.memory_temporal_stride_for_eval
        self._window = max(lookback, model.max_obj_ptrs_in_encoder)
        self._state: dict[str, Any] = {}
        self._found: dict[int, tuple[Tensor, float]] = {}  # logits (1, h, w), score; of the frame

    @torch.inference_mode()
    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Backbone]:
        """Encode (H, W, 3) RGB frames, MAX_BATCH at most, as one batch; return the features of each."""
        with autocast(self.model.device, self.precision):
            whole = self.model.forward_image(preprocess(images, self.model.image_size, self.model.device))
        levels = {key: whole[key] for key in ("backbone_fpn", "vision_pos_enc")}
        return [{key: [level[i : i + 1] for level in each] for key, each in levels.items()} for i in range(len(images))]

    def reset(self, size: tuple[int, int], count: int) -> None:
        """Drop all tracks and begin a clip of `count` frames of a (height, width), like the official `init_state`."""
        device = self.model.device
        self._found = {}
        self._state = {
            "images": None,  # only read where features are missing
            "num_frames": count,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": size[0],
            "video_width": size[1],
            "device": device,
            "storage_device": device,
            "obj_ids": [],
        }
        per_object = ("point_inputs", "mask_inputs", "output_dict", "temp_output_dict", "frames_tracked")
        tables = ["cached_features", "constants", "obj_id_to_idx", "obj_idx_to_id"]
        self._state |= {name: {} for name in (*tables, *(f"{name}_per_obj" for name in per_object))}

    def step(self, index: int, backbone: Backbone) -> dict[int, Tracked]:
        """Propagate all tracks to a later frame; return them by id.

        Args:
            index: position of the frame in the clip; frames that cannot be used may be skipped.
            backbone: from `encode`.

        Raises:
            RunError: the model's output is not finite in this precision.
        """
        state = self._state
        state["num_frames"] = max(state["num_frames"], index + 1)  # a video may have more frames than it says
        state["cached_features"] = {index: (torch.empty(1, 1, 1, 1), backbone)}
        self._found = {}
        if not state["obj_ids"]:
            return {}
        self.model.mask_scores.clear()
        with autocast(self.model.device, self.precision):
            ((_, track_ids, logits),) = self.model.propagate_in_video(state, index, max_frame_num_to_track=0)
        self._trim_memory(index)
        self._store(track_ids, logits)
        return self._tracked(track_ids)

    def add_boxes(self, boxes: Mapping[int, npt.NDArray[np.float32]]) -> dict[int, Tracked]:
        """Start tracks from boxes on the frame of the last `step`; one that exists is started anew.

        Args:
            boxes: (4,) x1 y1 x2 y2 in pixels of the frame, by track id.

        Returns:
            these tracks; with `non_overlap` all tracks of the frame, since they take pixels from each other.

        Raises:
            RunError: see `step`.
        """
        if not boxes:
            return {}
        state, logits = self._state, []
        (index,) = state["cached_features"]
        self.model.mask_scores.clear()
        with autocast(self.model.device, self.precision):
            for track_id, box in boxes.items():
                self.remove(track_id)  # with its memory, in which it has drifted; so a track has one prompt
                logits.append(self.model.add_new_points_or_box(state, index, track_id, box=box)[2])
            self.model.propagate_in_video_preflight(state)  # encodes the masks into the memory
        self._trim_memory(index)
        self._store(list(boxes), torch.cat(logits))
        return self._tracked(list(self._found if self.non_overlap else boxes))

    def remove(self, track_id: int) -> None:
        """Drop a track if it exists."""
        self._found.pop(track_id, None)
        self.model.remove_object(self._state, track_id, need_output=False)

    def _trim_memory(self, index: int) -> None:
        """Drop what no frame after this one attends to, and keep the rest in a type that autocast can use."""
        for kind in ("point_inputs_per_obj", "mask_inputs_per_obj", "frames_tracked_per_obj"):
            for kept in self._state[kind].values():
                kept.clear()
        for outputs in self._state["output_dict_per_obj"].values():
            frames = outputs["non_cond_frame_outputs"]
            for old in [frame for frame in frames if frame <= index - self._window]:
                del frames[old]
            for output in (*frames.values(), *outputs["cond_frame_outputs"].values()):
                output["pred_masks"] = None
                if self.precision == torch.float16:  # SAM2 stores bfloat16, which does not mix with float16
                    output["maskmem_features"] = output["maskmem_features"].half()

    def _store(self, track_ids: Sequence[int], logits: Tensor) -> None:
        """Store (N, 1, h, w) float32 logits of the frame, with the N scores that the model kept."""
        scores = torch.cat(self.model.mask_scores).float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise not_finite(self.precision)
        self._found |= zip(track_ids, zip(logits, scores.tolist()), strict=True)

    def _tracked(self, track_ids: Sequence[int]) -> dict[int, Tracked]:
        """Return the masks and scores of tracks on the frame."""
        size = self._state["video_height"], self._state["video_width"]
        at_once = max(1, MAX_PIXELS // (size[0] * size[1]))
        parts = torch.stack([self._found[track_id][0] for track_id in track_ids]).split(at_once)
        owners = _argmax_owner(parts, size) if self.non_overlap and len(track_ids) > 1 else None
        masks: list[Mask] = []
        for part in parts:
            masks += _masks(part, size, owners, len(masks))
        return {track_id: (mask, self._found[track_id][1]) for track_id, mask in zip(track_ids, masks)}


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
