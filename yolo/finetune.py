"""Finetunes YOLO on the objects of a VOC split, whose masks become boxes.

    python -m yolo.finetune -c config.json                                from arch.yolo_weights
    python -m yolo.finetune -c config.json --set finetune.init=scratch    from random weights

Several GPUs: --set 'finetune.yolo.extra={"device": "0,1"}', without torchrun: ultralytics starts its own processes.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli.guard import guarded, packages_needed, prepare_process

if __name__ == "__main__":  # before the imports that take long
    prepare_process()

with packages_needed():
    from datasets.training import loader_workers, open_training_splits
    from models.ultralytics_quiet import quiet_ultralytics
    from models.yolo_weights import check_yolo_yaml, load_yolo
    from utils.cli.outputs import check_new_file
    from utils.cli.parsers import configured, finetune_parser, overrides_as_args
    from utils.config import Config
    from utils.config.official import REPOSITORY
    from utils.device import choose_device, choose_precision
    from utils.distributed import Session
    from utils.errors import SampleError, UserError
    from utils.io.terminal import say
    from utils.io.writers import atomic_write, locked_file
    from yolo.training_data import write_training_data


if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import BaseModel, DetectionModel

OWN_KEYS = {
    "model": "arch.yolo_weights",
    "data": "dataset.data_dir",
    "workers": "dataloader.num_workers",
    **{name: f"finetune.yolo.{name}" for name in ("epochs", "imgsz", "batch", "seed")},
}
"""Training arguments of ultralytics -> the config keys that set them."""

DEFAULT_OUTPUT = REPOSITORY / "yolo" / "yolov8" / "finetuned.pt"


def finetune(
    config: Config, output: Path, device: torch.device, *, trust: bool = False
) -> tuple[float, float, list[SampleError]]:
    """Run the training that `finetune` of the config describes, and write the best weights and the curve.

    The start's weights are written if all epochs score worse.

    Returns:
        the mAP50-95 on the validation split of the start and of the best epoch; the images that could not be used.

    Raises:
        UserError: the config, the splits or the weights cannot be used.
    """
    from ultralytics.utils.plotting import plot_results

    from yolo.trainer import FolderTrainer

    train, val = open_training_splits(config)
    names = config.dataset.classes
    assert names is not None  # `open_training_splits` refuses a config without them
    with tempfile.TemporaryDirectory(prefix="yolo-finetune-") as name:
        folder = Path(name)
        start = starting_model(config, trust=trust)
        arguments = training_arguments(config, folder, device)
        failures = write_training_data({"train": train, "val": val}, names, folder)
        trainer = FolderTrainer(overrides=arguments)
        if start is not None:
            trainer.model = trainer.get_model(cfg=start.yaml, weights=start)
        trainer.train()
        (first, before), (best, after) = (
            strip_checkpoint(path, config.finetune.yolo.imgsz) for path in (trainer.start, trainer.best)
        )
        atomic_write(output, first if before > after else best)
        plot_results(file=trainer.csv)
        for path, suffix in zip(curve_paths(output), (".csv", ".png")):
            atomic_write(path, trainer.csv.with_suffix(suffix).read_bytes())
    return before, after, failures


def curve_paths(output: Path) -> tuple[Path, Path]:
    """Return the paths of ultralytics' table and picture of the losses and metrics of each epoch."""
    return output.with_suffix(".csv"), output.with_suffix(".png")


def starting_model(config: Config, *, trust: bool = False) -> DetectionModel | None:
    """Load the model that training starts from: `finetune.init`, or else `arch.yolo_weights`; None: random weights.

    Raises:
        UserError: neither is set, or it cannot be used.
    """
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    init, architecture = config.finetune.init or config.arch.yolo_weights, config.finetune.yolo.architecture
    if init is None:
        raise UserError("finetuning needs finetune.init or arch.yolo_weights")
    if init != "scratch":
        model = load_yolo(Path(init), trust=trust)
        if not is_trainable(model):
            last = type(model.model[-1]).__name__
            raise UserError(f"{init}: ends in {last}; only detectors that end in Detect are trained")
        return model
    place = f"finetune.yolo.architecture: {architecture}"
    try:
        check_yolo_yaml(yaml_model_load(architecture), place)
        model = DetectionModel(architecture, verbose=False)
    except UserError:
        raise
    except Exception as error:  # its parser raises almost anything
        raise UserError(f"{place}: not a YOLO architecture: {error}") from error
    if not is_trainable(model):
        raise UserError(f"{place}: no detector: it ends in {type(model.model[-1]).__name__}, not Detect")
    return None


def is_trainable(model: BaseModel) -> bool:
    """Return whether a model of Ultralytics can be trained here: it finds boxes and nothing else."""
    return type(model.model[-1]).__name__ in ("Detect", "v10Detect")


def training_arguments(config: Config, folder: Path, device: torch.device) -> dict[str, Any]:
    """Build the arguments of ultralytics' trainer, which works in `folder`.

    Raises:
        UserError: ultralytics refuses an extra argument, or it is set by another config key.
    """
    import torch
    from ultralytics.cfg import get_cfg

    settings = config.finetune.yolo
    native_bf16 = device.type == "cuda" and choose_precision("auto", device) == torch.bfloat16
    own = {
        "task": "detect",
        "mode": "train",
        "model": settings.architecture,
        "data": str(folder),
        "project": str(folder),
        "name": "run",
        "epochs": settings.epochs,
        "imgsz": settings.imgsz,
        "batch": settings.batch,
        "seed": settings.seed,
        "workers": loader_workers(config),
        "amp": "bf16" if native_bf16 else False,  # with fp16, ultralytics would fetch weights to test the GPU
        "plots": False,  # they need a font
    }
    if taken := sorted(own.keys() & settings.extra.keys()):
        keys = ", ".join(OWN_KEYS[name] for name in taken if name in OWN_KEYS)
        advice = f"; the config has {keys} for that" if keys else ""
        raise UserError(f"finetune.yolo.extra: {', '.join(taken)} cannot be set here{advice}")
    try:
        get_cfg(overrides=own | settings.extra)
    except (SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"finetune.yolo.extra: {error}") from error
    return own | {"device": str(device)} | settings.extra


def strip_checkpoint(checkpoint: Path, imgsz: int) -> tuple[bytes, float]:
    """Reduce a checkpoint to the model in half precision, without optimizer state, dates and paths.

    Returns:
        the content of an ultralytics checkpoint, and its mAP50-95.
    """
    import torch
    from ultralytics import __version__

    state = torch.load(checkpoint, map_location="cpu", weights_only=False)  # safe: our own trainer made it
    model = state["ema"].half().requires_grad_(False)
    model.args = {"task": "detect", "imgsz": imgsz}
    model.yaml["yaml_file"] = Path(model.yaml.get("yaml_file", "")).name
    metrics = {key: float(value) for key, value in state["train_metrics"].items()}
    published = {
        "epoch": -1,
        "model": model,
        "train_args": model.args,
        "train_metrics": metrics,
        "version": __version__,
        "license": "AGPL-3.0",
    }
    buffer = io.BytesIO()
    torch.save(published, buffer)
    return buffer.getvalue(), metrics["metrics/mAP50-95(B)"]


def summary(args: Namespace, config: Config, output: Path, before: float, after: float) -> Iterator[str]:
    """Yield what a training did to the score, where its files are, and what to type next."""
    change = f"mAP50-95 {before:.4f} -> {after:.4f} on the split {config.finetune.val_split}"
    if after > before:
        yield f"{output}: {change}"
    else:
        kept = "the start" if before > after else "the last of the best epochs"
        yield f"{output}: {change}: the training did not help; the file holds the weights of {kept}"
    yield "curve of the training: {}, {}".format(*curve_paths(output))
    if after > before:
        options = [*overrides_as_args(args, "arch.yolo_weights"), f"--set=arch.yolo_weights={output}"]
        yield f"use it:  {shlex.join(['python', 'yolo_sam.py', *options])}"
    elif config.finetune.init == "scratch" or not before:  # classes that the start does not know take many steps
        more = f"--set finetune.yolo.epochs={10 * config.finetune.yolo.epochs}"
        yield f"try more images, or more epochs: the same command with {more} --overwrite"
    else:
        given = config.finetune.yolo.extra  # without a named optimizer, ultralytics ignores lr0
        rate = float(f"{given.get('lr0', 1e-3) / 10:g}")
        extra = {"optimizer": "AdamW", **given, "lr0": rate}
        setting = shlex.quote(f"finetune.yolo.extra={json.dumps(extra)}")
        yield f"try more images, or smaller steps: the same command with --set {setting} --overwrite"


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and return the exit code: 1 if images could not be used."""
    args = finetune_parser(__doc__, "yolo").parse_args(argv)
    config = configured(args)
    if "LOCAL_RANK" in os.environ or "RANK" in os.environ:
        raise UserError("start yolo.finetune without torchrun: ultralytics starts its own processes (see --help)")
    output = config.finetune.output or DEFAULT_OUTPUT
    for path in (output, *curve_paths(output)):
        check_new_file(path, "finetune.output", overwrite=args.overwrite)
    quiet_ultralytics()
    device = choose_device(args.device, Session())
    with locked_file(output, "finetune.output"):
        before, after, failures = finetune(config, output, device, trust=args.trust_weights)
    say(f"failed: {failure}" for failure in failures)
    say(summary(args, config, output, before, after))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
