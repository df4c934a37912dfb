"""What all commands take from the command line: mistakes are refused with what to type, and options set config keys."""

from __future__ import annotations

import argparse
import difflib
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, get_args

from utils.cli.options import Output
from utils.cli.outputs import FOLDERS, SECTIONS
from utils.config import Override
from utils.config.loading import KEYS, LISTS
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.io.terminal import say

_EPILOG = """\
Any config key can be overridden:  --set detector.imgsz=1280 --set 'dataset.classes=["cat", "dog"]'

Paths given here start at the working directory, those inside a config file at that file's folder; an official weight
name without a folder (yolov8x.pt, sam2.1_hiera_tiny.pt) means its home under yolo/yolov8/ or sam/sam2.1/. Long options
may be written with - or _ between their words, and with one dash or two before them.
"""


_DASHES = ("-", "\u2013", "\u2014")
"""Characters that options begin with; text processors turn dashes into the last two."""

HELP = "--help lists the options"

OTHER_NAMES = {
    "source": "i image images imgs img_dir image_dir image_path input input_dir input_folder folder path video_path "
    "video_input",
    "data": "d dataset data_dir dataset_dir data_root root",
    "conf": "t confidence confidence_threshold conf_threshold score_thr score_thresh score_threshold thr threshold "
    "box_threshold min_score",
    "imgsz": "img img_size image_size input_size resolution size",
    "batch_size": "bs batchsize samples_per_gpu",
    "yolo_weights": "m w model weights checkpoint ckpt det_model detector yolo yolo_model",
    "sam_weights": "sam sam2 sam_model sam2_model sam_checkpoint sam2_checkpoint",
    "output": "out out_dir outdir output_dir work_dir save_dir save_path project dest target_dir",
    "config": "cfg config_file",
    "set": "cfg_options opts options override",
    "classes": "class class_filter filter_classes",
    "device": "gpu gpus cpu cuda",
    "precision": "half fp16 bf16 amp dtype",
    "format": "f labelme to export export_format annotation_format save_txt save_json",
    "prompt": "prompt_file boxes_file box_file bboxes predictions",
    "annotations": "annotation_dir ann_dir",
    "keyframe_interval": "stride vid_stride frame_stride",
    "overwrite": "force force_overwrite exist_ok",
    "video": "track tracker",
    "version": "v",
    "dry_run": "dry simulate",
    "detector.slice": "slice_size slice_height slice_width",
    "detector.overlap": "overlap_ratio overlap_height_ratio overlap_width_ratio",
    "detector.iou": "iou_thres iou_thresh iou_threshold nms nms_threshold",
    "dataset.classes": "class_names labels names names_file labels_file ontology",
    "auto_mask.splits": "split_ratio train_ratio val_ratio",
    "predictor.line_width": "line_thickness thickness",
    "predictor.opacity": "alpha",
}
"""An option without its dashes, or a config key -> what other tools call it."""

ADVICE = {
    "resume": "the same command again goes on where annotating or training was stopped",
    "eval metrics task mode": "each task is a script: yolo_sam.py evaluates, yolo_sam_visual.py renders overlays, "
    "yolo_sam_auto_anno_generator.py annotates",
    "launcher local_rank nproc nproc_per_node world_size": "torchrun starts several processes; docs/distributed.md",
    "augment tta": "there is none here; boxes found so can be read from a file by -p",
    "hide_labels hide_conf save_conf": "--set predictor.show=masks,boxes says what overlays show; annotations keep "
    "scores in any case",
    "show show_dir view_img save_img visualize vis": "overlays are files; --also visual makes them in any run",
    "polygon polygons": "--format labelme-polygon writes polygons",
}
"""Names of options that have no counterpart -> what to do instead."""

_NOT_TRAINED = ("dataset.split", "dataset.conf")
"""Keys of sections that trainings read, which they do not read."""

_OPTION_OF = {other: option for option, others in OTHER_NAMES.items() for other in others.split()}
_ADVICE_FOR = {name: advice for names, advice in ADVICE.items() for name in names.split()}

PACKAGES = ("torch", "torchvision", "ultralytics", "SAM-2", "sam2", "numpy", "opencv-python", "opencv-python-headless")
"""Distributions that decide results; those that are not installed are left out."""


class Parser(argparse.ArgumentParser):
    """Parse arguments; raise UserError on mistakes, and accept `-` and `_` in long options.

    Args:
        description: shown by `--help`.
        section: of a training, such as `finetune.sam`: of other sections only keys that it reads are suggested.
    """

    def __init__(self, description: str | None, section: str = "") -> None:
        super().__init__(description=description, epilog=_EPILOG, formatter_class=_Layout, allow_abbrev=False)
        self._section = section

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as the base class does, but raise UserError if there are unknown arguments; `parse_args` calls this."""
        arguments = sys.argv[1:] if args is None else args
        parsed, unknown = super().parse_known_args(list(map(self._normalized, arguments)), namespace)
        if unknown:
            raise UserError(self._unknown(*unknown[:2]))
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Raise a UserError with this message; argparse calls this on mistakes."""
        raise UserError(f"{message} ({HELP})")

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
            is_tree = os.path.isdir(os.path.join(argument, "ImageSets"))
            named = f"a VOC tree is named by --data {shlex.quote(argument)}" if is_tree else ""
            if not is_tree and os.path.exists(argument):
                named = f"photos are named by -s {shlex.quote(argument)}"
            return f"{argument}: belongs to no option{named and f'; {named}'} (--help lists them)"
        spelled, equals, value = argument.partition("=")
        name = spelled.lstrip("".join(_DASHES)).replace("-", "_").lower()
        value = value if equals else "..." if following.startswith("-") else following
        return f"{spelled.replace('_', '-')}: no such option; {self._suggestion(name, value)}"

    def _suggestion(self, name: str, value: str) -> str:
        """Return what to type in place of an unknown option, or where to look.

        Args:
            name: without dashes at its start, with `_` between words.
            value: what was given for it; `...` where nothing was.
        """
        options = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        if name in _ADVICE_FOR and name not in options:
            return _ADVICE_FOR[name]
        keys = [key for key in KEYS if not is_dataclass(KEYS[key].annotation)]
        if self._section:
            own, shared = f"{self._section}.", ("arch", "dataset", "finetune")
            trained = [key for key in keys if key.rpartition(".")[0] in shared and key not in _NOT_TRAINED]
            keys = [key for key in keys if key.startswith(own) or key in trained]
        # What to type, by the name that it is found by. Of keys with the same name the last is suggested: finetuning's
        # are sorted first for the scripts, and last for itself.
        keys.sort(key=lambda key: key.startswith("finetune.") == bool(self._section))
        texts = {key.rpartition(".")[2]: f"--set {key}={value}" for key in keys}
        texts |= {key: f"--set {key}={value}" for key in keys}
        texts |= {option: f"--{option.replace('_', '-')}" for option in options}
        for other, option in _OPTION_OF.items():
            if option in texts and (option in options or "." in option or other not in texts):
                texts[other] = texts[option]
        close = difflib.get_close_matches(name, texts, n=1, cutoff=0.65)
        return f"did you mean {texts[close[0]]}?" if close else HELP


class ConfigOverrideAction(argparse.Action):
    """Override a config key by an option's value: the key given here, or the one that the value `key=value` names."""

    def __init__(self, option_strings: Sequence[str], dest: str, key: str | None = None, **rest: Any) -> None:
        super().__init__(option_strings, "overrides", default=(), **rest)
        self.key = key

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Add the overrides; argparse calls this when it meets the option."""
        namespace.overrides = (*namespace.overrides, *self._overrides(values))

    def _overrides(self, values: Any) -> list[Override]:
        if self.key is None:
            return [Override.parse(values)]
        option = "/".join(self.option_strings[:2])
        if not isinstance(values, list):  # as with nargs
            return [Override.from_text(self.key, values, option)]
        names = names_in(values)
        if option == "--classes" and Path(names[0]).suffix in LISTS:
            advice = f"what the labels of a dataset mean is told by --set dataset.classes={names[0]}"
            raise UserError(f"--classes {names[0]}: takes the names of the classes to be kept; {advice}")
        return [Override(self.key, names, option)]


class OutputAction(ConfigOverrideAction):
    """Put each output of a run into a folder of its own below the one that `-o` names."""

    def _overrides(self, values: Any) -> list[Override]:
        option = "/".join(self.option_strings)
        places = {f"{SECTIONS[output]}.save_dir": str(Path(values, name)) for output, name in FOLDERS.items()}
        return [Override(key, place, option) for key, place in places.items()]


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


class VersionAction(argparse.Action):
    """Print the versions and end the program, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, *others: object) -> NoReturn:
        """Print the versions; argparse calls this when it meets the option."""
        say(f"{name} {number}" for name, number in versions().items())
        parser.exit()


def add_key(parser: argparse.ArgumentParser, *names: str, key: str, metavar: str, help: str, **rest: Any) -> None:
    """Add an option that overrides a config key."""
    parser.add_argument(*names, action=ConfigOverrideAction, key=key, metavar=metavar, help=help, **rest)


def names_in(words: Sequence[str]) -> list[str]:
    """Return the names in words of the command line, which may have commas between or behind them."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()] or [*words]


def versions() -> dict[str, str]:
    """Return the versions of Python, the system, the packages and, in a clone of the repository, its commit."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if (REPOSITORY / ".git").exists():
        ask = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(ask, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.SubprocessError):
            return found
        found |= {"commit": done.stdout.strip()} if done.returncode == 0 else {}
    return found


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Wrap the help between words only: a name such as `yolo-obb` stays whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)
