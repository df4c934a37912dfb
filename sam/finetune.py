"""Finetunes SAM2 from box prompts on the instance masks of a VOC split.

    python -m sam.finetune -c config.json                                 the mask decoder, from arch.sam_weights
    python -m sam.finetune -c config.json --train all                     every part that box prompts use
    python -m sam.finetune -c config.json --video                         the memory that follows objects through clips
    python -m sam.finetune -c config.json --set finetune.init=scratch     from random weights
    torchrun --nproc_per_node=4 -m sam.finetune -c config.json            on four GPUs, which share each batch

The same command resumes an interrupted run.
"""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.cli.guard import guarded, packages_needed, prepare_process

if __name__ == "__main__":  # before the imports that take long
    prepare_process()

with packages_needed():
    import torch

    from datasets.training import loader_workers, open_training_splits
    from models.device_limits import chunk_bytes
    from models.sam2_build import build_sam2, load_sam2
    from models.sam2_config import sam_config_of, sam_files
    from sam.objectives import ClipObjective, ImageObjective
    from sam.trainer import Objective, Trainer, write_curve, write_weights
    from utils.cli.arguments import add_key
    from utils.cli.outputs import check_new_file
    from utils.cli.parsers import configured, finetune_parser, overrides_as_args
    from utils.config import ArchConfig, Config, Override
    from utils.config.official import REPOSITORY
    from utils.device import choose_device
    from utils.distributed import Session, open_session
    from utils.errors import SampleError, UserError
    from utils.io.terminal import say
    from utils.io.writers import locked_file


if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

DEFAULT_OUTPUT = REPOSITORY / "sam" / "sam2.1" / "finetuned.pt"


def finetune(
    config: Config, output: Path, device: torch.device, session: Session, *, trust: bool = False
) -> tuple[dict[int, float], list[SampleError]]:
    """Run the training that `finetune` of the config describes, and write the best weights and the curve.

    The start's weights count, too. The weights of the last step are written beside the best if they differ: a score on
    few images is noisy, and training ends with small steps.

    Returns:
        the score of each validation by its step, of the start at 0; and the images that could not be used.

    Raises:
        UserError: the config, the splits, the weights or the state of an interrupted run cannot be used.
    """
    settings = config.finetune.sam
    train, val = open_training_splits(config, by_clips=settings.video, val_images=settings.val_images)
    examples = len(train.clips) if settings.video else len(train)
    for name, count in (("finetune.sam.batch_size", settings.batch_size), (f"the split {train.split}", examples)):
        if count < session.world_size:
            raise UserError(f"{name}: {session.world_size} processes cannot share {count} examples; start fewer")
    model = initial_model(config, device, trust=trust)
    objective: Objective
    if settings.video:
        objective = ClipObjective(model, settings, train, val)
    else:
        objective = ImageObjective(model, settings, train, val, chunk_bytes(config.segmenter.chunk_mb, device))
    trainer = Trainer(model, settings, objective, resume_key(config), state_path(output), session)
    if trainer.resume() and session.is_main:
        print(f"resuming at step {trainer.step} of {settings.steps}")
    session.barrier()  # all processes must have read the state before it is overwritten

    def validated(better: bool) -> None:
        if better:
            write_weights(model, output)
        write_curve(trainer.losses, trainer.scores, *curve_paths(output))

    scores = trainer.train(loader_workers(config), validated)
    if session.is_main:
        last_path(output).unlink(missing_ok=True)  # left by an earlier run, whose output is replaced
        if best_step(scores) < settings.steps:
            write_weights(model, last_path(output))
    failures = {failure.path: failure for failure in session.gather([*trainer.failures.values()])}
    return scores, [failures[path] for path in sorted(failures)]


def resume_key(config: Config) -> dict[str, str]:
    """Collect the values, by config key, that must be equal for a run to be resumed, besides `finetune.sam`."""
    arch, dataset, own = config.arch, config.dataset, config.finetune
    start = {"arch.sam_weights": arch.sam_weights} if own.init is None else {"finetune.init": own.init}
    rest = {
        "arch.sam_config": sam_config_of(starting_arch(config)),
        "dataset.data_dir": dataset.data_dir,
        "dataset.label_map": dataset.label_map,
        "finetune.train_split": own.train_split,
        "finetune.val_split": own.val_split,
    }
    return {key: str(value) for key, value in {**start, **rest}.items()}


def state_path(output: Path) -> Path:
    """Return the path of the training state, which exists until the training is finished."""
    return output.with_suffix(".training.pt")


def last_path(output: Path) -> Path:
    """Return the path of the last step's weights, which are written if others are better."""
    return output.with_suffix(".last.pt")


def curve_paths(output: Path) -> tuple[Path, Path]:
    """Return the paths of the table and the picture of the training's losses and scores."""
    return output.with_suffix(".csv"), output.with_suffix(".png")


def best_step(scores: Mapping[int, float]) -> int:
    """Return the step of the best score; of equal ones, the first."""
    return max(scores, key=lambda step: scores[step])


def initial_model(config: Config, device: torch.device, *, trust: bool = False) -> SAM2Base:
    """Build the model that training starts from: `finetune.init`, else `arch.sam_weights`, or random weights."""
    settings, arch = config.finetune.sam, starting_arch(config)
    if config.finetune.init == "scratch":
        torch.manual_seed(settings.seed)
        return build_sam2(sam_config_of(arch), settings.image_size, video=settings.video).to(device)
    return load_sam2(*sam_files(arch), device, settings.image_size, trust=trust, video=settings.video)


def starting_arch(config: Config) -> ArchConfig:
    """Return `arch` of a config, with `finetune.init` as SAM2's weights if it names a checkpoint."""
    init = config.finetune.init
    return config.arch if init in (None, "scratch") else replace(config.arch, sam_weights=Path(init))


def usage(args: Namespace, config: Config, output: Path) -> list[str]:
    """List the options with which a script uses the result, whose file name does not tell its architecture."""
    video = ["--video"] if config.finetune.sam.video else []
    own = ["arch.sam_config", "arch.sam_weights"]
    in_file = config.arch.sam_config and not any(override.key == own[0] for override in args.overrides)
    sam_config = [] if in_file else [f"--set=arch.sam_config={sam_config_of(starting_arch(config))}"]
    return [*overrides_as_args(args, *own), *video, *sam_config, f"--set=arch.sam_weights={output}"]


def size_note(config: Config) -> str | None:
    """Describe the difference, if any, between the image size of the training and that at which the scripts run."""
    trained, sam_config = config.finetune.sam.image_size, sam_config_of(starting_arch(config))
    if trained is None or trained == (own := build_sam2(sam_config).image_size):
        return None
    return f"note: trained at {trained} px; {sam_config} runs it at {own} px, its model.image_size"


def summary(args: Namespace, config: Config, output: Path, scores: Mapping[int, float]) -> Iterator[str]:
    """Yield what a training did to the score, where its files are, and what to type next."""
    settings, best = config.finetune.sam, best_step(scores)
    after = max(score for step, score in scores.items() if step > 0)
    change = f"mean IoU {scores[0]:.4f} -> {after:.4f} on the split {config.finetune.val_split}"
    if best:
        yield f"{output}: {change}, after {best} of {settings.steps} steps"
    else:
        yield f"{output}: {change}: the training did not help, so the file holds the weights of the start"
    if best < settings.steps:
        yield f"{last_path(output)}: the weights after all {settings.steps} steps"
    yield "curve of the training: {}, {}".format(*curve_paths(output))
    if not best:
        rate = f"--set finetune.sam.lr={settings.lr / 10:g}"
        yield f"try more images, or smaller steps: the same command with {rate} --overwrite"
        return
    if text := size_note(config):
        yield text
    yield f"use it:  {shlex.join(['python', 'yolo_sam.py', *usage(args, config, output)])}"


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and return the exit code: 1 if images could not be used."""
    parser = finetune_parser(__doc__, "sam")
    add_key(parser, "--train", key="finetune.sam.train", metavar="PART", help="memory, decoder or all")
    parser.add_argument("--video", action="store_true", help="learn to follow objects through clips")
    args = parser.parse_args(argv)
    if args.video:
        args.overrides = (*args.overrides, Override("finetune.sam.video", True, "--video"))
    config = configured(args)
    output = config.finetune.output or DEFAULT_OUTPUT
    for path in (output, last_path(output), *curve_paths(output)):
        check_new_file(path, "finetune.output", overwrite=args.overwrite or state_path(output).is_file())
    with open_session() as session, ExitStack() as locks:
        device = choose_device(args.device, session)
        if session.is_main:
            locks.enter_context(locked_file(output, "finetune.output"))
        session.barrier()  # none trains before the first one knows that it may
        scores, failures = finetune(config, output, device, session, trust=args.trust_weights)
    if session.is_main:
        say(f"failed: {failure}" for failure in failures)
        say(summary(args, config, output, scores))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
