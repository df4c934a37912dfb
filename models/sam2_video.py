"""SAM2 over a clip: what it was shown in one frame by a box, it finds in those that follow.

The official `SAM2VideoPredictor` (sam2 1.1.0) does the tracking, one frame at a time, on features of frames that are
preprocessed as images are. It looks back a few frames only, and at the one frame on which a track was prompted; what
lies further back is dropped after each frame, so masks stay the official ones and memory stays flat, however long a
clip is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from sam2 import sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

from models.sam2_forward import Backbone, autocast
from models.segmenter import preprocess
from models.transfer import HostSync, masks_to_host_async
from utils.errors import RunError
from utils.masks import Mask

Tracked: TypeAlias = "tuple[Mask, float]"
"""A mask in pixels of the frame, empty where the object is not to be seen, and SAM2's own estimate of its IoU."""

MAX_PIXELS = 2**26
"""Of masks that are scaled to the frame at a time: 32 of 1080p, in 256 MiB."""


def _without_bar(frames: Iterable[int], **_: Any) -> Iterable[int]:
    return frames


sam2_video_predictor.tqdm = _without_bar  # it would show a bar for every frame; the run has its own


class VideoModel(SAM2VideoPredictor):
    """The official video predictor, which keeps the scores it would drop and spares work that nobody looks at.

    Attributes:
        mask_scores: (1,) each, the estimated IoU of the masks found since somebody emptied the list.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.mask_scores: list[torch.Tensor] = []

    def _forward_sam_heads(self, *args: Any, **settings: Any) -> tuple[torch.Tensor, ...]:
        found = super()._forward_sam_heads(*args, **settings)
        if torch.is_inference_mode_enabled():  # a training has its own use for them
            self.mask_scores.append(found[2].amax(dim=-1))  # of several masks the best is taken
        return found

    def _consolidate_temp_output_across_obj(
        self, inference_state: dict[str, Any], frame_idx: int, **_: Any
    ) -> dict[str, torch.Tensor]:
        """The mask of the object that came last; officially, each prompt scales those of all objects to the video."""
        last = inference_state["temp_output_dict_per_obj"][len(inference_state["obj_ids"]) - 1]
        return {"pred_masks_video_res": last["cond_frame_outputs"][frame_idx]["pred_masks"]}

    def _get_orig_video_res_output(
        self, inference_state: dict[str, Any], any_res_masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The masks as they are; officially, those of all objects at once are scaled to the video, as floats."""
        return any_res_masks, any_res_masks


class Propagator:
    """Follows the objects of one clip after the other.

    Args:
        model: in eval mode on its device.
        precision: torch.float32, or the 16-bit type that matrix products run in.
        non_overlap: a pixel belongs to one track at most, that of the highest logit there, as with the official
            predictor's `non_overlap_masks`, by which SAM2 is evaluated on DAVIS.
    """

    def __init__(self, model: VideoModel, precision: torch.dtype, *, non_overlap: bool = False) -> None:
        self.model, self.precision, self.non_overlap = model, precision, non_overlap
        lookback = model.num_maskmem * model.memory_temporal_stride_for_eval
        self._window = max(lookback, model.max_obj_ptrs_in_encoder)
        self._state: dict[str, Any] = {}
        self._found: dict[int, tuple[torch.Tensor, float]] = {}  # logits (1, h, w) and score on the frame, by track id

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray]) -> list[Backbone]:
        """What SAM2's encoder makes of each of some frames, all at once; one row each.

        Args:
            images: (H, W, 3) uint8 RGB each, MAX_BATCH at most.
        """
        with autocast(self.model.device, self.precision):
            whole = self.model.forward_image(preprocess(images, self.model.image_size, self.model.device))
        levels = {key: whole[key] for key in ("backbone_fpn", "vision_pos_enc")}
        return [{key: [level[i : i + 1] for level in each] for key, each in levels.items()} for i in range(len(images))]

    def begin(self, size: tuple[int, int], count: int) -> None:
        """Forgets all, and begins with a clip of so many frames of a (height, width), as the official `init_state`."""
        device = self.model.device
        self._found = {}
        self._state = {
            "images": None,  # never read: all features are there before it would look
            "num_frames": count,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": size[0],
            "video_width": size[1],
            "device": device,
            "storage_device": device,
            "cached_features": {},
            "constants": {},
            "obj_id_to_idx": {},
            "obj_idx_to_id": {},
            "obj_ids": [],
            "point_inputs_per_obj": {},
            "mask_inputs_per_obj": {},
            "output_dict_per_obj": {},
            "temp_output_dict_per_obj": {},
            "frames_tracked_per_obj": {},
        }

    def advance(self, index: int, backbone: Backbone) -> dict[int, Tracked]:
        """Goes on to a later frame; all tracks on it, by their ids.

        Args:
            index: the frame's position in the clip; those that cannot be used are left out.
            backbone: from `encode`.

        Raises:
            RunError: the precision overflowed and the model's output is not finite.
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
        self._forget(index)
        self._keep(track_ids, logits)
        return self._tracked(track_ids)

    def prompt(self, boxes: Mapping[int, np.ndarray]) -> dict[int, Tracked]:
        """Starts tracks from their boxes on the frame that `advance` went to; one that exists starts anew there.

        Returns those tracks; with `non_overlap` all on the frame, since they take pixels from each other.

        Args:
            boxes: (4,) float32 x1 y1 x2 y2 in pixels of the frame, by track id.

        Raises:
            RunError: as `advance`.
        """
        if not boxes:
            return {}
        state, logits = self._state, []
        (index,) = state["cached_features"]
        self.model.mask_scores.clear()
        with autocast(self.model.device, self.precision):
            for track_id, box in boxes.items():
                self.end(track_id)  # so a track has one prompt, and what drifted is out of its memory
                logits.append(self.model.add_new_points_or_box(state, index, track_id, box=box)[2])
            self.model.propagate_in_video_preflight(state)  # encodes the masks into the memory
        self._forget(index)
        self._keep(list(boxes), torch.cat(logits))
        return self._tracked(list(self._found if self.non_overlap else boxes))

    def end(self, track_id: int) -> None:
        """Drops a track, if there is such a one."""
        self._found.pop(track_id, None)
        self.model.remove_object(self._state, track_id, need_output=False)

    def _forget(self, index: int) -> None:
        """Drops what the frames after this one never look at, and has them find the rest in a type they can use."""
        for kind in ("point_inputs_per_obj", "mask_inputs_per_obj", "frames_tracked_per_obj"):
            for kept in self._state[kind].values():
                kept.clear()
        for outputs in self._state["output_dict_per_obj"].values():
            passed = outputs["non_cond_frame_outputs"]
            for old in [frame for frame in passed if frame <= index - self._window]:
                del passed[old]
            for output in (*passed.values(), *outputs["cond_frame_outputs"].values()):
                output["pred_masks"] = None
                if self.precision == torch.float16:  # it is kept in bfloat16, which autocast cannot join to float16
                    output["maskmem_features"] = output["maskmem_features"].half()

    def _keep(self, track_ids: Sequence[int], logits: torch.Tensor) -> None:
        """Takes (N, 1, h, w) float32 masks on the device, and the N scores that the model kept, as the frame's."""
        scores = torch.cat(self.model.mask_scores).float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise RunError(f"SAM2's output is not finite in {self.precision}: choose --precision bf16 or fp32")
        self._found |= zip(track_ids, zip(logits, scores.tolist()), strict=True)

    def _tracked(self, track_ids: Sequence[int]) -> dict[int, Tracked]:
        """The masks and scores of tracks on the frame."""
        size = self._state["video_height"], self._state["video_width"]
        at_once = max(1, MAX_PIXELS // (size[0] * size[1]))
        parts = torch.stack([self._found[track_id][0] for track_id in track_ids]).split(at_once)
        owners = _owners(parts, size) if self.non_overlap and len(track_ids) > 1 else None
        masks: list[Mask] = []
        for part in parts:
            masks += _masks(part, size, owners, len(masks))
        return {track_id: (mask, self._found[track_id][1]) for track_id, mask in zip(track_ids, masks)}


def _owners(parts: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """(H, W) int64: of all masks in some (N, 1, h, w) parts, which has the highest logit there; the first of equals."""
    device, start = parts[0].device, 0
    best = torch.full(size, -torch.inf, device=device)
    owners = torch.zeros(size, dtype=torch.long, device=device)
    for part in parts:
        value, place = _scaled(part, size).max(dim=0)
        higher = value > best
        best, owners = torch.where(higher, value, best), torch.where(higher, place + start, owners)
        start += len(part)
    return owners


def _masks(logits: torch.Tensor, size: tuple[int, int], owners: torch.Tensor | None, start: int) -> list[Mask]:
    """(N, 1, h, w) float32 on any device -> masks of a (height, width) on the host.

    Args:
        owners: which mask each pixel belongs to; None: any number of them.
        start: what `owners` calls the first of these masks.
    """
    full = _scaled(logits, size) > 0
    if owners is not None:
        full &= owners == torch.arange(start, start + len(full), device=full.device)[:, None, None]
    arrived = masks_to_host_async(full)
    HostSync(full.device).wait()
    return arrived()


def _scaled(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, 1, h, w) -> (N, H, W), as officially."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)[:, 0]
