"""SAM2 from a config and a checkpoint: models built like the official `build_sam2` does, and the segmenter of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoints import (
    check_tensors,
    contents_of,
    kind_of,
    listed,
    read_checkpoint,
    read_safetensors,
    unwrapped,
)
from models.downloads import ensure_weights
from models.sam2_config import VIDEO_MODEL, build_part, read_sam_config, sam_files
from utils.annotations.fingerprint import file_hash
from utils.config import Config
from utils.device import Backend, choose_backend, choose_precision
from utils.errors import UserError, first_line
from utils.io.terminal import say

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

    from models.segmenter import Segmenter

# Added by `build_sam2(apply_postprocessing=True)`: an unstable single mask is replaced by the best of three.
POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}

# Added by `build_sam2_video_predictor`: the memory of a prompted frame holds the binarized mask. Holes are not filled,
# which the official predictor does only with its CUDA extension.
VIDEO = {"_target_": VIDEO_MODEL, "binarize_mask_from_pts_for_mem_enc": True, "fill_hole_area": 0}


STATE_KEYS = ("ema", "module", "model", "state_dict", "model_state_dict")
"""Keys under which trainers keep the tensors of SAM2; the moving average is what its trainer evaluates with."""

SAM_PART = "sam_mask_decoder."
"""Part of every SAM2; before its name stands what DataParallel, torch.compile or Lightning put before all tensors."""


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
        with _cpu_alone():
            return build_part(model).eval()
    except Exception as error:  # the constructors of sam2 raise almost anything
        raise UserError(f"{sam_config}: sam2 cannot build a model from this config: {first_line(error)}") from error


@contextmanager
def _cpu_alone() -> Iterator[None]:
    """Keep sam2 from putting constants on the first GPU, which need not be that of the run, or have room for them."""
    import torch

    available, torch.cuda.is_available = torch.cuda.is_available, lambda: False
    try:
        yield
    finally:
        torch.cuda.is_available = available


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


def load_sam_state(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """Load the tensors of a SAM2 checkpoint, on the CPU, in the types in which they are stored.

    Args:
        path: a file that holds the tensors by name, or has them under `model` or `state_dict`; or safetensors. A
            missing official one is downloaded.
        trust: let the checkpoint run code while it is loaded; then it may hold a whole model, too.

    Raises:
        UserError: the file is missing, damaged, foreign or would run code, or a tensor cannot be used.
    """
    ensure_weights(path)
    import torch

    if path.is_file() and kind_of(path) == "safetensors":
        state: object = read_safetensors(path)
    else:
        state = content = read_checkpoint(
            path, lambda safe: torch.load(path, map_location="cpu", weights_only=safe), trust=trust
        )
        while isinstance(state, Mapping):
            parts = [state[key] for key in STATE_KEYS if state.get(key) is not None]
            if not parts:
                break
            state = parts[0]
        state = unwrapped(state)
        if type(state).__module__.startswith("ultralytics."):
            raise UserError(f"{path}: holds a YOLO model ({type(state).__name__}), not SAM2's tensors")
        if isinstance(state, torch.nn.Module) and type(state).__module__.startswith("sam2."):
            state = state.state_dict()
        named = isinstance(state, Mapping) and all(isinstance(each, torch.Tensor) for each in state.values())
        if not named or not state:
            raise UserError(f'{path}: not a SAM2 checkpoint, {{"model": state_dict}}: it holds {contents_of(content)}')
    assert isinstance(state, Mapping)
    tensors = {str(name): tensor for name, tensor in state.items()}
    wrapper = next((name.partition(SAM_PART)[0] for name in tensors if SAM_PART in name), "")
    if all(name.startswith(wrapper) for name in tensors):
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    check_tensors(tensors.items(), path)
    return tensors


def describe_mismatch(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """Describe how the tensors of a checkpoint differ from those that a model expects; return "" if they fit."""
    differing = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": differing,
        "of integers": [name for name in expected if name in state and not state[name].is_floating_point()],
    }
    return "; ".join(f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds.items() if names)


def build_segmenter(
    config: Config, device: torch.device, *, trust: bool, video: bool = False, num_images: int = 1
) -> Segmenter:
    """Build the segmenter; compile it if the config says so or, on a GPU, for a long run of single images.

    Args:
        trust: whether the checkpoint may run code while it is loaded.
        video: whether objects will be followed through clips.
        num_images: how many images the whole run has.

    Raises:
        UserError: weights, a SAM2 config or the precision cannot be used, or `segmenter.compile` is on and fails.
    """
    from models.device_limits import check_attention, chunk_bytes
    from models.segmenter import LONG_RUN, Segmenter

    settings, precision = config.segmenter, choose_precision(config.segmenter.precision, device)
    backend = choose_backend(settings.backend, device)
    if settings.compile == "on":
        if settings.backend == "openvino":
            raise UserError("--compile on: torch compiles, and segmenter.backend is openvino; choose one of the two")
        backend = "torch"
    model = load_sam2(*sam_files(config.arch), device, trust=trust, video=video)
    if device.type == "mps":
        check_attention(device)
    backend = _prepare(model, precision, backend, config)
    windows = config.dataloader.batch_size if settings.window == "auto" else None
    segmenter = Segmenter(model, precision, chunk_bytes(settings.chunk_mb, device), backend, windows)
    worth_compiling = device.type == "cuda" and num_images >= LONG_RUN and not video
    if settings.compile == "on" or (settings.compile == "auto" and worth_compiling):
        try:
            line = f"compiled SAM2 in {segmenter.compile(config.dataloader.batch_size):.0f} s"
        except UserError as error:
            if settings.compile == "on":
                raise
            line = f"{error}; going on without"
        say([line])
    return segmenter


def _prepare(model: SAM2Base, precision: torch.dtype, backend: Backend, config: Config) -> Backend:
    """Make a model fast, in place; return what runs its encoder.

    That is torch where `backend` is OpenVINO, but only `auto` chose it and it fails.
    """
    from models.sam2_prepare import fit_to_device, simplify

    simplify(model)
    if backend == "openvino":
        from models.sam2_openvino import encode_by_openvino

        sam_config, weights = sam_files(config.arch)
        try:
            encode_by_openvino(model, precision, f"{file_hash(weights)} {read_sam_config(sam_config)}")
        except UserError as error:
            if config.segmenter.backend == "openvino":
                raise
            say([f"{error}; going on with torch"])
            backend = "torch"
    fit_to_device(model, precision, compiles=config.segmenter.compile == "on")
    return backend
