"""SAM2's yaml configs: read, checked and built without Hydra, so that a config can name nothing but parts of SAM2.

Hydra calls whatever `_target_` names, and a name that begins with `sam2.` reaches every module that sam2 itself
imports, `os` and `torch.hub` among them. Here a config chooses from a closed table of classes, and its arguments are
plain values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from utils.config import ArchConfig
from utils.config.official import OFFICIAL_SAM
from utils.errors import UserError, first_line

PARTS = frozenset({
    "sam2.modeling.backbones.hieradet.Hiera",
    "sam2.modeling.backbones.image_encoder.FpnNeck",
    "sam2.modeling.backbones.image_encoder.ImageEncoder",
    "sam2.modeling.memory_attention.MemoryAttention",
    "sam2.modeling.memory_attention.MemoryAttentionLayer",
    "sam2.modeling.memory_encoder.CXBlock",
    "sam2.modeling.memory_encoder.Fuser",
    "sam2.modeling.memory_encoder.MaskDownSampler",
    "sam2.modeling.memory_encoder.MemoryEncoder",
    "sam2.modeling.position_encoding.PositionEmbeddingSine",
    "sam2.modeling.sam.transformer.Attention",
    "sam2.modeling.sam.transformer.RoPEAttention",
})  # fmt: skip
"""The classes of which the official configs make a model, by the full name that `_target_` gives."""

MODELS = frozenset({"sam2.modeling.sam2_base.SAM2Base", "sam2.sam2_video_predictor.SAM2VideoPredictor"})
"""The classes that a whole model may have."""

VIDEO_MODEL = "models.sam2_video.VideoModel"

TEXTS = {
    "activation": ("relu", "gelu", "glu"),
    "fpn_interp_model": ("nearest", "bilinear", "bicubic", "area"),
    "fuse_type": ("sum", "avg"),
    "norm_layer": ("LayerNorm",),
}
"""The arguments that take a text, with their texts: sam2 looks some of them up as names of classes."""

MAX_BYTES, MAX_BRACKETS, MAX_NUMBER, MAX_LAYERS, MAX_DEPTH = 2**16, 500, 2**17, 512, 32
"""Limits of any usable config: its size, its brackets (PyYAML takes minutes for many), its numbers, its count of
layers of a kind, and how deep it is nested."""


def sam_files(arch: ArchConfig) -> tuple[str, Path]:
    """Return SAM2's config and weights.

    Raises:
        UserError: one of them is not set.
    """
    if arch.sam_weights is None:
        raise UserError("arch.sam_weights: not set; name a checkpoint, or an official one: " + ", ".join(OFFICIAL_SAM))
    return sam_config_of(arch), arch.sam_weights


def sam_config_of(arch: ArchConfig) -> str:
    """Return `arch.sam_architecture`; raise UserError if none is set and the name of the weights is not official."""
    if arch.sam_architecture is None:
        raise UserError(f"arch.sam_config: not set, and {arch.sam_weights} has no official name that would tell it")
    return arch.sam_architecture


def read_sam_config(sam_config: str) -> dict[str, Any]:
    """Read the section `model` of a SAM2 config: nested dicts, lists, numbers, texts, bools and None; checked.

    Args:
        sam_config: a yaml file of sam2's own form, or else the name of a config inside the sam2 package.

    Raises:
        UserError: no such config, or one that could make anything but a SAM2 model.
    """
    content = _read_yaml(_find(sam_config), sam_config)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise UserError(f"{sam_config}: sam2 cannot build a model from this config: it has no section `model`")
    if content.get("defaults", ["_self_"]) != ["_self_"]:
        raise UserError(f"{sam_config}: defaults: other files are not read; write the whole model into this one")
    model = content["model"]
    target = model.get("_target_")
    if not isinstance(target, str) or target not in MODELS:
        raise UserError(f"{sam_config}: model._target_: {target} is not a SAM2 model; it is not run")
    if bad := [key for key in model if not isinstance(key, str)]:
        raise UserError(f"{sam_config}: model: {bad[0]} is not the name of an argument")
    for key in model.keys() - {"_target_"}:
        _check(model[key], f"model.{key}", key, sam_config)
    return model


def build_part(node: Any) -> Any:
    """Build what a checked node of a config describes: an object for a dict with a `_target_`, else the value."""
    if isinstance(node, list):
        return [build_part(each) for each in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build_part(value) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return arguments
    assert node["_target_"] in PARTS | MODELS | {VIDEO_MODEL}, node["_target_"]
    module, _, name = node["_target_"].rpartition(".")
    return getattr(import_module(module), name)(**arguments)


def _find(sam_config: str) -> Path:
    """Return the file that a config's name means. UserError if there is none."""
    file = Path(sam_config)
    if "\0" not in sam_config and file.is_file():
        return file
    if "\0" not in sam_config and not file.exists():
        import sam2

        folder = Path(sam2.__path__[0]).resolve()
        for name in (sam_config, f"{sam_config}.yaml"):
            file = (folder / name).resolve()
            if file.is_file() and file.suffix == ".yaml" and folder in file.parents:
                return file
    raise UserError(f"arch.sam_config: {sam_config} is neither a file nor a config of the sam2 package")


def _read_yaml(file: Path, sam_config: str) -> Any:
    """Parse a yaml file of plain values.

    Raises:
        UserError: it cannot be read, is too large, or has aliases, by which a small file would stand for a huge one.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UserError(f"{sam_config}: not a SAM2 config: larger than {MAX_BYTES} bytes")
        text = raw.decode("utf-8")
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            raise UserError(f"{sam_config}: not a SAM2 config: more than {MAX_BRACKETS} brackets")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UserError(f"{sam_config}: aliases (*name) are not read; write each value where it belongs")
        node = OmegaConf.load(StringIO(text))  # to plain yaml 1e-6 is a text
        return OmegaConf.to_container(node, resolve=False)
    except UserError:
        raise
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError, AssertionError) as error:
        raise UserError(f"{sam_config}: not a readable yaml config: {first_line(error)}") from error


def _check(value: Any, place: str, key: str, sam_config: str, depth: int = 0) -> None:
    """Refuse what is no plain value of sensible size, and what would call anything but the parts of SAM2."""
    if problem := _problem(value, key, depth):
        raise UserError(f"{sam_config}: {place}: {problem}")
    if isinstance(value, list):
        for i, child in enumerate(value):
            _check(child, f"{place}.{i}", key, sam_config, depth + 1)
    elif isinstance(value, Mapping):
        for name, child in value.items():
            if name != "_target_":
                _check(child, f"{place}.{name}", str(name), sam_config, depth + 1)


def _problem(value: Any, key: str, depth: int) -> str | None:
    """Say why a value cannot stand under a key; return None if it can."""
    if depth > MAX_DEPTH:
        return "nested too deeply"
    if key.startswith("_"):
        return "an instruction to Hydra, which does not read this file"
    if key == "weights_path" and value is not None:
        return "weights come from arch.sam_weights alone; leave it out"
    if isinstance(value, dict):
        if bad := [name for name in value if not isinstance(name, str) or not name.isidentifier()]:
            return f"{bad[0]} is not the name of an argument"
        if "_target_" in value and not (isinstance(value["_target_"], str) and value["_target_"] in PARTS):
            return f"_target_: {value['_target_']} is not a part of a SAM2 model; it is not run"
        return None
    if isinstance(value, list):
        layers = sum(each for each in value if isinstance(each, (int, float)))
        return "more layers than any SAM2 has" if key == "stages" and layers > MAX_LAYERS else None
    return _problem_of_scalar(value, key)


def _problem_of_scalar(value: Any, key: str) -> str | None:
    """Say why a value that is neither list nor section cannot stand under a key; return None if it can."""
    if isinstance(value, str) and "${" in value:
        return f"references are not followed; write the value itself instead of {value[:40]}"
    if isinstance(value, str):
        choices = TEXTS.get(key, ())
        advice = f"; write {' or '.join(choices)}" if choices else ""
        return None if value in choices else f"takes no text such as {value[:40]!r}{advice}"
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{value} is not a plain number, text, list or section"
    if abs(value) > (MAX_LAYERS if key in ("num_layers", "iou_head_depth") else MAX_NUMBER):
        return f"{value} is larger than any SAM2 has it"
    return None
