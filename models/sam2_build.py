"""SAM2 models from a config and a checkpoint, built like the official `build_sam2` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.weights import describe_mismatch, load_sam_state
from utils.errors import UserError

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
VIDEO = {"_target_": "models.sam2_video.VideoModel", "binarize_mask_from_pts_for_mem_enc": True, "fill_hole_area": 0}


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
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config = _read_sam_config(sam_config)
    try:
        for key, value in POSTPROCESSING.items():
            OmegaConf.update(config, f"model.sam_mask_decoder_extra_args.{key}", value, force_add=True)
        if image_size is not None:
            config.model.image_size = image_size
        OmegaConf.resolve(config)
        if foreign := [target for target in _targets(OmegaConf.to_container(config)) if not target.startswith("sam2.")]:
            raise UserError(f"{sam_config}: _target_: {foreign[0]} is not a part of sam2; it is not run")
        for name, setting in VIDEO.items() if video else ():
            OmegaConf.update(config, f"model.{name}", setting, force_add=True)
        return instantiate(config.model, _recursive_=True).eval()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{sam_config}: sam2 cannot build a model from this config: {error}") from error


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


def _read_sam_config(sam_config: str) -> Any:
    """Read the config of a file, or else of the sam2 package, as an omegaconf node with unresolved interpolations."""
    import sam2  # noqa: F401  (initialises Hydra with its own config folder)
    from hydra import compose
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return OmegaConf.load(sam_config) if Path(sam_config).is_file() else compose(config_name=sam_config)
    except MissingConfigException:
        raise UserError(f"arch.sam_config: {sam_config} is neither a file nor a config of the sam2 package") from None
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        raise UserError(f"{sam_config}: not a readable yaml config: {error}") from error


def _targets(node: object) -> Iterator[str]:
    """Yield all values of `_target_` below a node, which Hydra would import and call."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    for child in children:
        yield from _targets(child)
