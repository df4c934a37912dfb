"""SAM2 models from a config and a checkpoint, built like the official `build_sam2` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.sam2_config import VIDEO_MODEL, build_part, read_sam_config
from models.weights import describe_mismatch, load_sam_state
from utils.errors import UserError, first_line

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

# Added by `build_sam2(apply_postprocessing=True)`: an unstable single mask is replaced by the best of three.
POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}

# Added by `build_sam2_video_predictor`: the memory of a prompted frame holds the binarized mask. Holes are not filled,
# which the official predictor does only with its CUDA extension.
VIDEO = {"_target_": VIDEO_MODEL, "binarize_mask_from_pts_for_mem_enc": True, "fill_hole_area": 0}


def build_sam2(sam_config: str, image_size: int | None = None, *, video: bool = False) -> SAM2Base:
    """Build a SAM2 model with random weights, in eval mode on the CPU, like the official `build_sam2`.

    Args:
        sam_config: a yaml file like those of sam2, or else the name of a config inside the sam2 package.
        image_size: side of the model's square input in pixels; None: that of the config.
        video: build a `VideoModel`, like the official `build_sam2_video_predictor`; on single images it gives the same
            results.

    Raises:
        UserError: the config does not exist or is not that of a SAM2 model.
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
    """Build a model, see `build_sam2`, and load a checkpoint; UserError if they do not fit each other."""
    model = build_sam2(sam_config, image_size, video=video)
    state = load_sam_state(weights, trust=trust)
    if mismatch := describe_mismatch(state, model.state_dict()):
        raise UserError(f"{weights}: does not fit sam_config {sam_config}: {mismatch}")
    model.load_state_dict(state)
    return model.float().to(device)
