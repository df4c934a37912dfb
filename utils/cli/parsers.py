"""The options of each command, and what is parsed of them."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from utils.classes import COCO_CLASSES, load_class_names
from utils.cli.arguments import AlsoAction, ConfigOverrideAction, OutputAction, Parser, VersionAction, add_key
from utils.cli.options import Boxes, Options, Output, check, with_label_classes, with_tuning
from utils.cli.outputs import FOLDERS, check_writable
from utils.config import Config, load_config
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.formats.categories import CategoryOffset
from utils.formats.registry import FORMATS
from utils.formats.voc import TREE_OF_MASKS
from utils.formats.yolo_labels import LabelColumns
from utils.io.json_files import path_problem
from utils.prompts.table import BoxFormat, PromptOverrides


def parse(output: Output, description: str | None, argv: Sequence[str] | None = None) -> Options:
    """Parse the command line of one of the three scripts.

    Args:
        output: the output that the script makes.
        description: the script's docstring, shown by `--help`.
        argv: the command line without the program, `sys.argv[1:]` by default.

    Raises:
        UserError: an option, the config file or a combination of them cannot be used, or outputs cannot be written.
    """
    args = run_parser(description).parse_args(argv)
    options = options_of(args, tuple(dict.fromkeys([output, *args.also])))
    options = replace(
        options,
        prompt=args.prompt and args.prompt.absolute(),
        prompt_overrides=_overrides_of(args),
        overwrite=args.overwrite,
        prune=args.prune,
        dry_run=args.dry_run,
        diff=args.diff and args.diff.absolute(),
        boxes=_boxes_of(args),
        attribute=args.attribute,
        annotations=args.annotations and args.annotations.absolute(),
        video=args.video,
        shard=args.shard,
        merge=args.merge,
        command=shlex.join(["python", sys.argv[0], *(sys.argv[1:] if argv is None else argv)]),
    )
    options = with_label_classes(options)
    if args.tune:
        options = with_tuning(options)
    check(options, args)
    check_writable(options)
    return options


def run_parser(description: str | None) -> Parser:
    """Return the parser of the three scripts."""
    parser = images_parser(description)
    _add_prompt_options(parser)
    _add_box_options(parser)
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
    _add_annotation_options(parser)
    add("--shard", type=_shard_of, metavar="I/N", help="work on the I-th of N parts of the run, whatever the others do")
    add("--merge", action="store_true", help="when all shards have ended: write the files that all images share")
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


def finetune_parser(description: str | None, model: Literal["yolo", "sam"]) -> Parser:
    """Return the parser of the finetune script of a model; each may add options of its own."""
    parser = command_parser(description, f"finetune.{model}")
    parser.add_argument("--overwrite", action="store_true", help="replace the weight file if there is one")
    return parser


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


def options_of(args: argparse.Namespace, outputs: tuple[Output, ...] = ()) -> Options:
    """Return the options that an `images_parser` has parsed.

    Args:
        outputs: the outputs that the run makes.

    Raises:
        UserError: the config file cannot be used, there are no images, or they cannot be evaluated.
    """
    config = configured(args)
    if args.source and "evaluate" in outputs:
        fact = "photos without target masks cannot be evaluated, only rendered and annotated"
        raise UserError(f"-s/--source: {fact}; {TREE_OF_MASKS.format(photos='-s PHOTOS -a MASKS')} for --data")
    if not args.source and config.dataset.data_dir is None:
        raise UserError(f"{args.config}: dataset.data_dir: no images; set it, or name photos by -s/--source")
    source = tuple(path.absolute() for path in args.source)
    return Options(config, outputs, source, prompt=None, device=args.device, trust_weights=args.trust_weights)


def configured(args: argparse.Namespace) -> Config:
    """Load the config file that a `command_parser`'s options name, with their overrides.

    Raises:
        UserError: the config cannot be used, or a clone of sam2 lies where it hides the package.
    """
    clone = REPOSITORY / "sam2"
    if (clone / "sam2").is_dir():
        advice = "a clone of sam2 beside the scripts hides the sam2 package that pip installs; move it elsewhere"
        raise UserError(f"{clone}: {advice} (its checkpoints may stay)")
    return load_config(args.config, args.overrides)


def overrides_as_args(args: argparse.Namespace, *left_out: str) -> list[str]:
    """List the options that give another command the same config, without `finetune` and the keys to be left out."""
    last = {override.key: override for override in args.overrides}
    kept = [last[key] for key in last if key not in left_out and not key.startswith("finetune.")]
    return ["-c", str(args.config), *(f"--set={override.assignment}" for override in kept)]


def path_of(text: str) -> Path:
    """Convert a text of the command line to a path; raise ArgumentTypeError if it is none."""
    if problem := path_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return Path(text)


def _add_prompt_options(parser: Parser) -> None:
    """Add `-p` and the options that say how its file is interpreted."""
    add = parser.add_argument
    add(
        "-p",
        "--prompt",
        type=path_of,
        metavar="PATH",
        help="take the boxes from a prompt file, or a folder of YOLO labels or labelme files, not from the detector",
    )
    add("--bbox_format", choices=get_args(BoxFormat), help="what its boxes mean: two corners, or a corner and the size")
    offsets = get_args(CategoryOffset)
    add("--category_offset", choices=offsets, help="its first category id, or coco91: COCO's own ids, with gaps")
    names = "a file with one name per line, or coco: what its category ids index, in place of the dataset's classes"
    add("--prompt_names", type=lambda text: str(path_of(text)), metavar="FILE", help=names)
    columns = 'what follows the class in rows of YOLO labels, such as "x y w h conf"'
    add("--label_columns", choices=get_args(LabelColumns), metavar="COLUMNS", help=columns)


def _add_box_options(parser: Parser) -> None:
    """Add the options that choose the boxes, or annotations instead of the models."""
    add = parser.add_argument
    add("--boxes", choices=get_args(Boxes), help="boxes for SAM2: detector, file (-p) or target (the true objects')")
    add("--tune", action="store_true", help="evaluating all boxes above 0.001, choose the -conf of each class for mIoU")
    add("--attribute", action="store_true", help="evaluating, say how much of the missing mIoU is whose")
    add(
        "-a",
        "--annotations",
        type=path_of,
        metavar="PATH",
        help="take the objects from files, not from the models: labelme, COCO, YOLO-seg, VOC or label maps",
    )


def _add_annotation_options(parser: Parser) -> None:
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


def _boxes_of(args: argparse.Namespace) -> Boxes:
    """Return the source of the boxes: the prompt file if there is one, else the detector, unless `--boxes` says it.

    Raises:
        UserError: `--boxes` contradicts `-p`.
    """
    if args.boxes == "file" and args.prompt is None:
        raise UserError("--boxes file: there is no prompt file; -p/--prompt names it")
    if args.boxes in ("detector", "target") and args.prompt is not None:
        raise UserError(f"--boxes {args.boxes}: -p/--prompt gives boxes, too; leave one of the two out")
    return args.boxes or ("file" if args.prompt else "detector")


def _overrides_of(args: argparse.Namespace) -> PromptOverrides:
    """Return what the command line says about how the prompt file is to be interpreted.

    Raises:
        UserError: there is no prompt file, or its class names cannot be read.
    """
    said = {
        "--bbox-format": args.bbox_format,
        "--category-offset": args.category_offset,
        "--prompt-names": args.prompt_names,
        "--label-columns": args.label_columns,
    }
    for option, value in said.items():
        if value is not None and args.prompt is None and not (args.annotations and option == "--category-offset"):
            raise UserError(f"{option}: there is no prompt file; -p/--prompt names it")
    names = args.prompt_names
    if names is not None:
        names = COCO_CLASSES if names == "coco" else load_class_names(Path(names).absolute())
    return PromptOverrides(args.bbox_format, args.category_offset, names, args.label_columns)


def _shard_of(text: str) -> tuple[int, int]:
    """Convert `2/4` to the number of a shard and of all shards; raise ArgumentTypeError if it is none."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(
            f"{text}: must be a number from 1 and the number of all shards, such as 1/4 to 4/4"
        )
    return int(found[1]), int(found[2])
