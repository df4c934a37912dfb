"""Parse the command line: refuse by UserError, accept two spellings of long options, and set config keys."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
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
    shard_of,
    tuning,
    with_label_classes,
)
from utils.cli.outputs import FOLDERS, SECTIONS, check_writable
from utils.cli.suggestions import suggest
from utils.cli.versions import VersionAction
from utils.config import Config, Override, load_config
from utils.config.loading import LISTS
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.formats.registry import FORMATS

_EPILOG = """\
Any config key can be overridden:  --set detector.imgsz=1280 --set 'dataset.classes=["cat", "dog"]'

Paths given here start at the working directory, those inside a config file at that file's folder; an official weight
name without a folder (yolov8x.pt, sam2.1_hiera_tiny.pt) means its home under yolo/yolov8/ or sam/sam2.1/. Long options
may be written with - or _ between their words, and with one dash or two before them.
"""


_DASHES = ("-", "\u2013", "\u2014")
"""Characters that options begin with; text processors turn dashes into the last two."""


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Wrap the help between words only: a name such as `yolo-obb` stays whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Parse arguments; raise UserError on mistakes, and accept `-` and `_` in long options.

    Args:
        description: shown by `--help`.
        section: section of the config whose keys are suggested first for an unknown option.
    """

    def __init__(self, description: str | None, section: str = "") -> None:
        super().__init__(description=description, epilog=_EPILOG, formatter_class=_Layout, allow_abbrev=False)
        self._section = section

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as the base class does, but raise UserError if there are unknown arguments; `parse_args` calls this."""
        arguments = sys.argv[1:] if args is None else args
        given, unknown = super().parse_known_args(list(map(self._normalized, arguments)), namespace)
        if unknown:
            raise UserError(self._unknown(*unknown[:2]))
        return given, unknown

    def error(self, message: str) -> NoReturn:
        """Raise a UserError with this message; argparse calls this on mistakes."""
        raise UserError(f"{message} (--help lists the options)")

    def _normalized(self, argument: str) -> str:
        """Return an argument as argparse knows it: two dashes, and `_` between words.

        One dash would otherwise begin a short option: `-split test` would mean the source `plit`.
        """
        name, equals, value = argument.lstrip("-").partition("=")
        option = "--" + name.replace("-", "_")
        known = argument.startswith("-") and option in self._option_string_actions
        if argument.startswith("--") or (known and f"-{name}" not in self._option_string_actions):
            return option + equals + value
        return argument

    def _unknown(self, argument: str, following: str = "-") -> str:
        """Return the message for an unknown argument; it suggests the nearest option or config key, with its value."""
        if not argument.startswith(_DASHES):
            source = f"; photos are named by -s {shlex.quote(argument)}" if os.path.exists(argument) else ""
            return f"{argument}: belongs to no option{source} (--help lists them)"
        spelled, equals, value = argument.partition("=")
        name = spelled.lstrip("".join(_DASHES)).replace("-", "_").lower()
        value = value if equals else "..." if following.startswith("-") else following
        options = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        return f"{spelled.replace('_', '-')}: no such option; {suggest(name, value, options, self._section)}"


class ConfigOverrideAction(argparse.Action):
    """Override a config key by an option's value: the key given here, or the one that the value `key=value` names."""

    def __init__(self, option_strings: Sequence[str], dest: str, key: str | None = None, **rest: Any) -> None:
        super().__init__(option_strings, "overrides", default=(), **rest)
        self.key = key

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Add the override; argparse calls this when it meets the option."""
        namespace.overrides = (*namespace.overrides, self._override(values))

    def _override(self, values: Any) -> Override:
        if self.key is None:
            return Override.parse(values)
        option = "/".join(self.option_strings[:2])
        if not isinstance(values, list):  # as with nargs
            return Override.from_text(self.key, values, option)
        names = names_in(values)
        if option == "--classes" and Path(names[0]).suffix in LISTS:
            advice = f"what the labels of a dataset mean is told by --set dataset.classes={names[0]}"
            raise UserError(f"--classes {names[0]}: takes the names of the classes to be kept; {advice}")
        return Override(self.key, names, option)


class AlsoAction(argparse.Action):
    """Add outputs to those that a run makes."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Add the outputs; UserError for an unknown one."""
        known, names = get_args(Output), names_in(values)
        for name in names:
            if name not in known:
                raise UserError(f'--also: must be {" or ".join(known)}, not "{name}"')
        namespace.also = [*namespace.also, *names]


def names_in(words: Sequence[str]) -> list[str]:
    """Return the names in words of the command line, which may have commas between or behind them."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()] or [*words]


class OutputAction(argparse.Action):
    """Put each output of a run into a folder of its own below the one that `-o` names."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Add the overrides."""
        option = "/".join(self.option_strings)
        places = {f"{SECTIONS[output]}.save_dir": str(Path(values, name)) for output, name in FOLDERS.items()}
        overrides = (Override(key, place, option) for key, place in places.items())
        namespace.overrides = (*namespace.overrides, *overrides)


def add_key(parser: argparse.ArgumentParser, *names: str, key: str, metavar: str, help: str, **rest: Any) -> None:
    """Add an option that overrides a config key."""
    parser.add_argument(*names, action=ConfigOverrideAction, key=key, metavar=metavar, help=help, **rest)


def command_parser(description: str | None, section: str = "") -> Parser:
    """Return a parser with the options that every command has; see `Parser`."""
    parser = Parser(description, section)
    add = parser.add_argument
    add("-c", "--config", type=path_of, default=Path("config.json"), help="config file (default: %(default)s)")
    add(
        "--set",
        action=ConfigOverrideAction,
        metavar="KEY=VALUE",
        help="override a config key, such as dataset.split=test; VALUE is JSON, or else a text; may be repeated",
    )
    add_key(parser, "--data", key="dataset.data_dir", metavar="DIR", help="the dataset: a folder in Pascal VOC layout")
    add_key(parser, "--yolo_weights", key="arch.yolo_weights", metavar="FILE", help="weights of the detector")
    add_key(parser, "--sam_weights", key="arch.sam_weights", metavar="FILE", help="weights of SAM2")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps or auto (default: %(default)s)")
    add("--trust_weights", action="store_true", help="load checkpoints that may run code; only for files you trust")
    add("--version", action=VersionAction, nargs=0, help="print the versions of all that decides results")
    return parser


def images_parser(description: str | None) -> Parser:
    """Return a parser for commands that process images, with the options that choose them."""
    parser = command_parser(description)
    low = "leave out boxes that score X or lower, 0 to 1; or a file with one X for each class, as --tune writes it"
    batch, conf = ("-b", "--batch_size", "--batch"), ("-conf", "--conf_thres", "--conf")
    add_key(parser, *batch, key="dataloader.batch_size", metavar="N", help="images per batch")
    add_key(parser, *conf, key="dataset.conf", metavar="X", help=low)
    add_key(parser, "--split", key="dataset.split", metavar="NAME", help="the split of the dataset, such as val")
    add_key(parser, "--imgsz", key="detector.imgsz", metavar="N", help="longer side in pixels that the detector sees")
    kept = "keep only the boxes of these classes"
    add_key(parser, "--classes", key="detector.classes", metavar="NAME", help=kept, nargs="+")
    parser.add_argument(
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
    """Return the parser of the three scripts."""
    parser = images_parser(description)
    add_prompt_options(parser)
    add_box_options(parser)
    add = parser.add_argument
    add(
        "--also",
        nargs="+",
        action=AlsoAction,
        default=[],
        metavar="OUTPUT",
        help=f"make the other scripts' outputs in the same run: {', '.join(get_args(Output))}",
    )
    where = ", ".join(f"{name}/" for name in FOLDERS.values())
    below = f"put all outputs below a folder: {where}"
    add("-o", "--output", type=path_of, action=OutputAction, metavar="DIR", help=below)
    precisions, compiling = "auto, fp32, bf16 or fp16", "compile SAM2 first: auto, on, off"
    add_key(parser, "--precision", key="segmenter.precision", metavar="P", help=precisions)
    add_key(parser, "--compile", key="segmenter.compile", metavar="C", help=compiling)
    expected = "the calibration.json of an evaluation: objects get their expected IoU, which review_below then means"
    add_key(parser, "--calibration", key="segmenter.calibration", metavar="FILE", help=expected)
    add("--video", action="store_true", help="follow objects through clips: one object, one id")
    interval = "with --video, frames from one look for boxes to the next; 0: the first frame only"
    add_key(parser, "--keyframe_interval", key="video.keyframe_interval", metavar="N", help=interval)
    _add_annotating(parser)
    add("--shard", type=shard_of, metavar="I/N", help="work on the I-th of N parts of the run, whatever the others do")
    add("--merge", action="store_true", help="when all shards have ended: write the files that all images share")
    return parser


def _add_annotating(parser: Parser) -> None:
    """Add the options that matter when annotations are written."""
    add = parser.add_argument
    formats = f"annotation formats: {', '.join(FORMATS)}"
    add_key(parser, "--format", nargs="+", key="auto_mask.formats", metavar="FORMAT", help=formats)
    add("--overwrite", action="store_true", help="replace annotations that a person edited, too")
    add(
        "--prune",
        action="store_true",
        help="remove annotations and overlays of photos that are gone, unless a person edited them",
    )
    add("--dry_run", action="store_true", help="only say what annotating would write, redo, skip and keep")
    add("--diff", type=path_of, metavar="DIR", help="compare with the labelme annotations in a folder")


def finetune_parser(description: str | None) -> Parser:
    """Return the parser of the two finetune scripts; each may add options of its own."""
    parser = command_parser(description, "finetune")
    parser.add_argument("--overwrite", action="store_true", help="replace the weight file if there is one")
    return parser


def parse(output: Output, description: str | None, argv: Sequence[str] | None = None) -> Options:
    """Parse the command line of one of the three scripts.

    Args:
        output: the output that the script makes.
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
        prune=given.prune,
        dry_run=given.dry_run,
        diff=given.diff and given.diff.absolute(),
        boxes=boxes_of(given),
        attribute=given.attribute,
        annotations=given.annotations and given.annotations.absolute(),
        video=given.video,
        shard=given.shard,
        merge=given.merge,
        command=shlex.join(["python", sys.argv[0], *(sys.argv[1:] if argv is None else argv)]),
    )
    options = with_label_classes(options)
    if given.tune:
        options = tuning(options)
    check(options, given)
    check_writable(options)
    return options


def options_of(given: argparse.Namespace, outputs: tuple[Output, ...] = ()) -> Options:
    """Return the options that an `images_parser` has parsed.

    Args:
        outputs: the outputs that the run makes.

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
    """Load the config file that a `command_parser`'s options name, with their overrides.

    Raises:
        UserError: the config cannot be used, or a clone of sam2 lies where it hides the package.
    """
    check_no_sam2_clone()
    return load_config(given.config, given.overrides)


def check_no_sam2_clone(folder: Path = REPOSITORY) -> None:
    """Raise UserError if a clone of sam2's repository beside the scripts would hide the installed package."""
    clone = folder / "sam2"
    if (clone / "sam2").is_dir():
        advice = "a clone of sam2 beside the scripts hides the sam2 package that pip installs; move it elsewhere"
        raise UserError(f"{clone}: {advice} (its checkpoints may stay)")
