"""SAM2 models from a config and a checkpoint, as the official `build_sam2` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.sam2_config import VIDEO_MODEL, build_part, read_sam_config
from models.weights import describe_mismatch, load_sam_state
from utils.errors import UserError, first_line

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

# What `build_sam2(apply_postprocessing=True)` adds: a single mask that is not stable gives way to the best of three.
POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}

# What `build_sam2_video_predictor` adds to that, without the holes that only its CUDA extension fills: the memory of a
# prompted frame holds the very mask that is shown.
VIDEO = {"_target_": VIDEO_MODEL, "binarize_mask_from_pts_for_mem_enc": True, "fill_hole_area": 0}


def build_sam2(sam_config: str, image_size: int | None = None, *, video: bool = False) -> SAM2Base:
    """A SAM2 model with random weights, in eval mode on the CPU, as the official `build_sam2` builds it.

    Args:
        sam_config: a yaml file of sam2's own form, or else the name of a config inside the sam2 package.
        image_size: side of the model's square input in pixels, instead of the config's own.
        video: also able to follow objects, as the model of the official `build_sam2_video_predictor`; of single images
            it makes the same.

    Raises:
        UserError: no such config, or one that is not a SAM2 model.
    """
    model = read_sam_config(sam_config)
    try:
        model.setdefault("sam_mask_decoder_extra_args", {}).update(POSTPROCESSING)
        model.update({} if image_size is None else {"image_size": image_size}, **(VIDEO if video else {}))
        return build_part(model).eval()
    except Exception as error:  # the constructors of sam2 raise almost anything
        raise UserError(f"{sam_config}: sam2 cannot build a model from this config: {first_line(error)}") from error


def load_sam2(
    sam_config: str,
    weights: Path,
    device: torch.device,
    image_size: int | None = None,
    *,
    trust: bool = False,
    video: bool = False,
) -> SAM2Base:
    """The model of a config with the weights of a checkpoint, every tensor of which must fit; see `build_sam2`."""
    model = build_sam2(sam_config, image_size, video=video)
    state = load_sam_state(weights, trust=trust)
    if mismatch := describe_mismatch(state, model.state_dict()):
        raise UserError(f"{weights}: does not fit sam_config {sam_config}: {mismatch}")
    model.load_state_dict(state)
    return model.float().to(device)
