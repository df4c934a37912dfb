"""Finetunes YOLO on the objects of a VOC split, whose masks become boxes.

    python -m yolo.finetune -c config.json                                from arch.yolo_weights
    python -m yolo.finetune -c config.json --set finetune.init=scratch    from random weights

Several GPUs: --set 'finetune.yolo.extra={"device": "0,1"}', without torchrun: ultralytics starts its own processes.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from utils.cli.process import end_at_signals

    end_at_signals()

import io
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli.guard import guarded, packages_needed

with packages_needed():
    from datasets.training import open_training_splits
    from models.ultralytics_quiet import quiet_ultralytics
    from models.weights import check_yolo_yaml, is_detector, load_yolo
    from utils.cli.outputs import check_new_file
    from utils.cli.parsers import configured, finetune_parser, overrides_as_args
    from utils.config import Config
    from utils.config.official import REPOSITORY
    from utils.device import choose_device, choose_precision
    from utils.distributed import Session
    from utils.errors import SampleError, UserError
    from utils.io.terminal import say
    from utils.io.writers import atomic_write
    from yolo.training_data import write_training_data


if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import DetectionModel

DEFAULT_OUTPUT = REPOSITORY / "yolo" / "yolov8" / "finetuned.pt"


def finetune(
    config: Config, output: Path, device: torch.device, *, trust: bool = False
) -> tuple[dict[str, float], list[SampleError]]:
    """Run the training that `finetune` of the config describes, and write the best weights.

    Returns:
        ultralytics' metrics of the best epoch on the validation split, and the images that could not be used.

    Raises:
        UserError: the config, the splits or the weights cannot be used.
    """
    train, val = open_training_splits(config)
    names = config.dataset.classes
    assert names is not None  # `open_training_splits` refuses a config without them
    with tempfile.TemporaryDirectory(prefix="yolo-finetune-") as name:
        folder = Path(name)
        start = starting_model(config, trust=trust)
        arguments = training_arguments(config, folder, device)
        failures = write_training_data({"train": train, "val": val}, names, folder)
        best = run_trainer(arguments, start)
        content, metrics = strip_checkpoint(best, config.finetune.yolo.imgsz)
    atomic_write(output, content)
    return metrics, failures


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
        if not is_detector(model):
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
    if not is_detector(model):
        raise UserError(f"{place}: no detector: it ends in {type(model.model[-1]).__name__}, not Detect")
    return None


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
        "workers": config.dataloader.num_workers,
        "amp": "bf16" if native_bf16 else False,  # with fp16, ultralytics would fetch weights to test the GPU
        "plots": False,  # they need a font
    }
    if taken := own.keys() & settings.extra.keys():
        raise UserError(f"finetune.yolo.extra: {', '.join(sorted(taken))} cannot be set here")
    try:
        get_cfg(overrides=own | settings.extra)
    except (SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"finetune.yolo.extra: {error}") from error
    return own | {"device": str(device)} | settings.extra


def run_trainer(arguments: dict[str, Any], start: DetectionModel | None) -> Path:
    """Train, and return the checkpoint of the best epoch."""
    from yolo.trainer import FolderTrainer

    trainer = FolderTrainer(overrides=arguments)
    if start is not None:
        trainer.model = trainer.get_model(cfg=start.yaml, weights=start)
    trainer.train()
    return trainer.best


def strip_checkpoint(checkpoint: Path, imgsz: int) -> tuple[bytes, dict[str, float]]:
    """Reduce a checkpoint to the model in half precision, without optimizer state, dates and paths.

    Returns:
        the content of an ultralytics checkpoint, and the metrics of its epoch.
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
    return buffer.getvalue(), metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and return the exit code: 1 if images could not be used."""
    args = finetune_parser(__doc__).parse_args(argv)
    config = configured(args)
    if "LOCAL_RANK" in os.environ or "RANK" in os.environ:
        raise UserError("start yolo.finetune without torchrun: ultralytics starts its own processes (see --help)")
    output = config.finetune.output or DEFAULT_OUTPUT
    check_new_file(output, "finetune.output", overwrite=args.overwrite)
    quiet_ultralytics()
    metrics, failures = finetune(config, output, choose_device(args.device, Session()), trust=args.trust_weights)
    say(f"failed: {failure}" for failure in failures)
    print(f"{output}: mAP50-95 {metrics['metrics/mAP50-95(B)']:.4f} on the split {config.finetune.val_split}")
    options = [*overrides_as_args(args, "arch.yolo_weights"), f"--set=arch.yolo_weights={output}"]
    print("use it: ", shlex.join(["python", "yolo_sam.py", *options]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
