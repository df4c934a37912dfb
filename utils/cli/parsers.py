"""How the command line is read: it refuses by a UserError, spells long options two ways, and may set config keys."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from utils.cli.options import (
    Options,
    Output,
    add_box_options,
    add_prompt_options,
    boxes_of,
    check,
    overrides_of,
    path_of,
)
from utils.cli.outputs import check_writable
from utils.cli.process import INTERRUPTED, TERMINATED, Terminated, process_of_a_run
from utils.config import Config, Override, load_config
from utils.config.official import REPOSITORY
from utils.errors import RunError, UserError
from utils.formats.registry import FORMATS

_EPILOG = """\
Any config key can be overridden:  --set detector.imgsz=1280 --set 'dataset.classes=["cat", "dog"]'

Paths given here start at the working directory, those inside a config file at that file's folder; an official weight
name without a folder (yolov8x.pt, sam2.1_hiera_tiny.pt) means its home under yolo/yolov8/ or sam/sam2.1/. Long options
may be written with - or _ between their words.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses by a UserError and takes `-` for `_` in the names of long options."""

    def __init__(self, description: str | None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, epilog=_EPILOG, formatter_class=layout, allow_abbrev=False)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As the base class does; `parse_args` goes through here."""
        arguments = sys.argv[1:] if args is None else args
        return super().parse_known_args([normalize_option(argument) for argument in arguments], namespace)

    def error(self, message: str) -> NoReturn:
        """Refuses the command line."""
        raise UserError(f"{message} (--help lists the options)")


def normalize_option(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument[2:].partition("=")
    return "--" + option.replace("-", "_") + equals + value


class ConfigOverrideAction(argparse.Action):
    """An option whose value overrides a config key: always the same one, or the one that `key=value` names."""

    def __init__(self, option_strings: Sequence[str], dest: str, key: str | None = None, **rest: Any) -> None:
        super().__init__(option_strings, "overrides", default=(), **rest)
        self.key = key

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Adds the override; argparse calls this where the option stands."""
        namespace.overrides = (*namespace.overrides, self._override(values))

    def _override(self, values: Any) -> Override:
        if self.key is None:
            return Override.parse(values)
        option = "/".join(self.option_strings)
        several = isinstance(values, list)  # with nargs
        return Override(self.key, values, option) if several else Override.from_text(self.key, values, option)


def command_parser(description: str | None) -> Parser:
    """A parser with the options that every command has: `-c`, `--set`, `--device` and `--trust_weights`."""
    parser = Parser(description)
    add = parser.add_argument
    add("-c", "--config", type=path_of, default=Path("config.json"), help="config file (default: %(default)s)")
    add(
        "--set",
        action=ConfigOverrideAction,
        metavar="KEY=VALUE",
        help="override a config key, such as dataset.split=test; VALUE is JSON, or else a text; may be repeated",
    )
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps or auto (default: %(default)s)")
    add("--trust_weights", action="store_true", help="load checkpoints that may run code; only for files you trust")
    return parser


def images_parser(description: str | None) -> Parser:
    """A parser of a command that runs through images, with the options that say which."""
    parser = command_parser(description)
    add = parser.add_argument
    add(
        "-b",
        "--batch_size",
        action=ConfigOverrideAction,
        key="dataloader.batch_size",
        metavar="N",
        help="images a batch",
    )
    add(
        "-conf",
        "--conf_thres",
        action=ConfigOverrideAction,
        key="dataset.conf",
        metavar="X",
        help="leave out boxes that score X or lower, 0 to 1",
    )
    add(
        "-s",
        "--source",
        type=path_of,
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="photos, or folders of them, instead of the dataset (with --video, clips); they cannot be evaluated",
    )
    return parser


def run_parser(description: str | None) -> Parser:
    """The parser of the three scripts."""
    parser = images_parser(description)
    add_prompt_options(parser)
    add_box_options(parser)
    add = parser.add_argument
    add(
        "--also",
        nargs="+",
        action="extend",
        default=[],
        choices=get_args(Output),
        metavar="OUTPUT",
        help=f"make the other scripts' outputs in the same run: {', '.join(get_args(Output))}",
    )
    add(
        "--precision",
        action=ConfigOverrideAction,
        key="segmenter.precision",
        metavar="P",
        help="auto, fp32, bf16 or fp16",
    )
    add(
        "--compile",
        action=ConfigOverrideAction,
        key="segmenter.compile",
        metavar="C",
        help="compile SAM2 first: auto, on, off",
    )
    add("--video", action="store_true", help="follow objects through clips: one object, one id")
    add(
        "--keyframe_interval",
        action=ConfigOverrideAction,
        key="video.keyframe_interval",
        metavar="N",
        help="with --video, frames from one look for boxes to the next; 0: the first frame only",
    )
    _add_annotating(parser)
    return parser


def _add_annotating(parser: Parser) -> None:
    """Adds the options that matter when annotations are written."""
    add = parser.add_argument
    add(
        "--format",
        nargs="+",
        action=ConfigOverrideAction,
        key="auto_mask.formats",
        metavar="FORMAT",
        help=f"annotation formats: {', '.join(FORMATS)}",
    )
    add("--overwrite", action="store_true", help="replace annotations that a person edited, too")
    add("--dry_run", action="store_true", help="only say what annotating would write, redo, skip and keep")
    add("--diff", type=path_of, metavar="DIR", help="compare with the labelme annotations in a folder")


def finetune_parser(description: str | None) -> Parser:
    """The parser of the two finetune scripts; each may add options of its own."""
    parser = command_parser(description)
    parser.add_argument("--overwrite", action="store_true", help="replace the weight file if there is one")
    return parser


def parse(output: Output, description: str | None, argv: Sequence[str] | None = None) -> Options:
    """The options of one of the three scripts.

    Args:
        output: what the script is for.
        description: the script's docstring, shown by `--help`.
        argv: the command line without the program, `sys.argv[1:]` by default.

    Raises:
        UserError: an option, the config file or a combination of them cannot be used, or outputs cannot be written.
    """
    given = run_parser(description).parse_args(argv)
    options = options_of(given, tuple(dict.fromkeys([output, *given.also])))
    options = replace(
        options,
        prompt=given.prompt and given.prompt.absolute(),
        prompt_overrides=overrides_of(given),
        overwrite=given.overwrite,
        dry_run=given.dry_run,
        diff=given.diff and given.diff.absolute(),
        boxes=boxes_of(given),
        attribute=given.attribute,
        annotations=given.annotations and given.annotations.absolute(),
        video=given.video,
    )
    check(options, given)
    check_writable(options)
    return options


def options_of(given: argparse.Namespace, outputs: tuple[Output, ...] = ()) -> Options:
    """What an `images_parser`'s options ask for.

    Args:
        outputs: what the run makes.

    Raises:
        UserError: the config file cannot be used, there are no images, or they cannot be evaluated.
    """
    config = configured(given)
    if given.source and "evaluate" in outputs:
        raise UserError("-s/--source: photos without target masks cannot be evaluated, only rendered and annotated")
    if not given.source and config.dataset.data_dir is None:
        raise UserError(f"{given.config}: dataset.data_dir: no images; set it, or name photos by -s/--source")
    source = tuple(path.absolute() for path in given.source)
    return Options(config, outputs, source, None, given.device, given.trust_weights)


def overrides_as_args(given: argparse.Namespace, *left_out: str) -> list[str]:
    """List the options that give another command the same config, without `finetune` and the keys to be left out."""
    last = {override.key: override for override in given.overrides}
    kept = [last[key] for key in last if key not in left_out and not key.startswith("finetune.")]
    return ["-c", str(given.config), *(f"--set={override.assignment}" for override in kept)]


def configured(given: argparse.Namespace) -> Config:
    """The config that a `command_parser`'s options name and change.

    Raises:
        UserError: the config cannot be used, or a clone of sam2 lies where it hides the package.
    """
    check_no_sam2_clone()
    return load_config(given.config, given.overrides)


def check_no_sam2_clone(folder: Path = REPOSITORY) -> None:
    """Raises UserError where a clone of sam2's repository beside the scripts would hide the installed package."""
    clone = folder / "sam2"
    if (clone / "sam2").is_dir():
        advice = "a clone of sam2 beside the scripts hides the sam2 package that pip installs; move it elsewhere"
        raise UserError(f"{clone}: {advice} (its checkpoints may stay)")


def guarded(main: Callable[[], int]) -> int:
    """The exit code of `main`; what a user can put right ends in one message and no traceback.

    Returns:
        what `main` returns, or 2 for a UserError, 3 for a RunError or anything unforeseen (with its traceback), 130 for
        Ctrl-C, and 143 for SIGTERM.
    """
    with process_of_a_run():
        try:
            return main()
        except UserError as error:
            return _failed(2, f"error: {error}")
        except RunError as error:
            return _failed(3, f"error: {error}")
        except Terminated:
            return _failed(TERMINATED, "terminated")
        except KeyboardInterrupt:
            return _failed(INTERRUPTED, "interrupted")
        except Exception:
            return _failed(3, traceback.format_exc())


def _failed(code: int, message: str) -> int:
    print(message.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    return code
