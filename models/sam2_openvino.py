"""SAM2's encoder in OpenVINO, which fuses what torch computes step by step; converted once, then kept in a cache.

The optional package `openvino` is needed, see requirements-openvino.txt.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import sam2_prepare
from models.downloads import held
from models.sam2_prepare import CachedPositions
from utils.errors import UserError, first_line
from utils.io.terminal import say, warn

if TYPE_CHECKING:
    import openvino
    from sam2.modeling.backbones.image_encoder import ImageEncoder
    from sam2.modeling.sam2_base import SAM2Base

TYPES = {torch.float32: ("FP32", "f32"), torch.bfloat16: ("BF16", "bf16"), torch.float16: ("FP16", "f16")}
"""Precision -> OpenVINO's names: of the ability of a CPU, and of what it is told to use.

Left to itself, OpenVINO takes 16 bits where a CPU has them. Told to use what the CPU lacks, it takes fp32.
"""


class OpenVinoEncoder(nn.Module):
    """SAM2's image encoder, which OpenVINO runs image by image on the CPU.

    Args:
        encoder: with its projections merged, see `models.sam2_prepare`; float32.
        compiled: what OpenVINO made of it.
    """

    def __init__(self, encoder: ImageEncoder, compiled: openvino.CompiledModel) -> None:
        super().__init__()
        self._compiled, self._positions = compiled, CachedPositions(encoder.neck.position_encoding)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Return what `ImageEncoder` of sam2 returns for (B, 3, S, S) images, in float32."""
        found = [self._compiled(image.numpy()).to_tuple() for image in images.split(1)]
        levels = [torch.cat([torch.from_numpy(level) for level in of_images]) for of_images in zip(*found)]
        positions = [self._positions(level) for level in levels]
        return {"vision_features": levels[-1], "vision_pos_enc": positions, "backbone_fpn": levels}


def encode_by_openvino(model: SAM2Base, precision: torch.dtype, identity: str) -> None:
    """Replace the encoder of a model by OpenVINO's.

    Args:
        model: prepared, float32, in eval mode on the CPU.
        precision: in which OpenVINO computes the encoder.
        identity: names the weights and the architecture by their content.

    Raises:
        UserError: OpenVINO is missing, does not compute in this precision on this CPU, or fails.
    """
    openvino = import_openvino()
    try:
        core = openvino.Core()
        ability, hint = TYPES[precision]
        if ability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            advice = "choose --precision fp32, or segmenter.backend=torch"
            raise UserError(f"segmenter.backend: OpenVINO does not compute in {ability.lower()} on this CPU; {advice}")
        encoder, side = model.image_encoder, model.image_size
        graph = cached_graph(core, cache_folder(), cache_key(identity, side), encoder, side)
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(graph, "CPU", settings)
        model.image_encoder = OpenVinoEncoder(encoder, compiled)
    except RuntimeError as error:
        raise UserError(f"segmenter.backend: OpenVINO cannot run SAM2: {first_line(error)}") from error


def import_openvino() -> Any:
    """Import OpenVINO; raise UserError if it is not installed."""
    # Importing it would report to its makers who imports what; where the package that does so is missing, it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        advice = "pip install -r requirements-openvino.txt"
        raise UserError(f"segmenter.backend: openvino is not installed; {advice}") from error
    return openvino


def cache_folder() -> Path:
    """Return the folder of converted encoders: in `XDG_CACHE_HOME`, as a rule `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "yolo-sam2", "openvino")


def cache_key(identity: str, side: int) -> str:
    """Hash what a converted encoder depends on: weights and architecture, this code, and the libraries' versions."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("openvino", "torch", "sam2")]
    code = [Path(str(file)).read_text(encoding="utf-8") for file in (__file__, sam2_prepare.__file__)]
    return hashlib.sha256("\0".join([identity, str(side), *versions, *code]).encode()).hexdigest()[:32]


def cached_graph(core: Any, folder: Path, key: str, encoder: nn.Module, side: int) -> Any:
    """Return OpenVINO's graph of an encoder from the cache; convert it first if it is not there.

    A folder of the cache takes its name when it is complete. Of several processes one converts, the others wait. Where
    nothing can be written, each run converts anew.
    """
    place = folder / key
    with _only_one(folder, key):
        file = place / "encoder.xml"
        if file.is_file():
            try:
                return core.read_model(file)
            except RuntimeError:  # damaged on the disk
                shutil.rmtree(place, ignore_errors=True)
        began = time.perf_counter()
        say([f"converting SAM2's encoder for OpenVINO, once; it will be kept in {folder}"])
        graph = convert(encoder, side)
        say([f"converted in {time.perf_counter() - began:.0f} s"])
        unfinished = folder / f".{key}"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
            unfinished.mkdir()
            import_openvino().save_model(graph, unfinished / file.name, compress_to_fp16=False)
            unfinished.rename(place)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            warn([f"{folder}: cannot be written ({first_line(error)}); the next run converts again"])
        return graph


def convert(encoder: nn.Module, side: int) -> Any:
    """Convert an encoder for single square images: (1, 3, side, side) to its levels, from fine to coarse."""

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.encoder(image)["backbone_fpn"])

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about how OpenVINO traces, and about shapes, which are fixed here
        image = torch.zeros(1, 3, side, side)
        return import_openvino().convert_model(Levels().eval(), example_input=image, input=[1, 3, side, side])


@contextlib.contextmanager
def _only_one(folder: Path, key: str) -> Iterator[None]:
    """Let the processes of this machine convert one after the other; do nothing where there are no locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # writing will tell
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder / f".{key}.lock"))
        yield
