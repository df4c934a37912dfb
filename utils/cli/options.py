"""Hold the options of a run, and refuse those that contradict each other."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from utils.classes import CLASS_NAMES, NAMES_FILES
from utils.config import Config, DatasetConfig
from utils.errors import UserError
from utils.formats.labelme_reader import LabelmeFiles
from utils.formats.predictions import coco_files
from utils.prompts.readers import label_class_names
from utils.prompts.table import PromptOverrides

Output = Literal["evaluate", "visual", "annotate"]

Boxes = Literal["detector", "file", "target"]

NEEDS: dict[str, tuple[str, tuple[Output, ...]]] = {
    "overwrite": ("annotations, which this run does not write; --also annotate makes it", ("annotate",)),
    "prune": ("annotations and overlays, and this run makes neither", ("annotate", "visual")),
    "dry_run": ("annotations, which this run does not write; --also annotate makes it", ("annotate",)),
    "diff": (
        "annotations or metrics, and this run makes neither; --also annotate or evaluate makes it",
        ("annotate", "evaluate"),
    ),
    "tune": ("evaluation, which this run does not do; --also evaluate makes it", ("evaluate",)),
    "attribute": ("evaluation, which this run does not do; --also evaluate makes it", ("evaluate",)),
}
"""Option that matters for some outputs only -> what it is about, and those outputs."""

LEAST_SCORE = 0.001
"""With `--tune`, boxes that score no more are left out; as COCO's evaluation of detectors does."""


@dataclass(frozen=True)
class Options:
    """Hold the options of the command line.

    Attributes:
        config: all settings; `-b`, `-conf`, `--precision` and `--set` are already in it.
        outputs: the outputs that the run makes: the script's own output first, then those of `--also`, each once.
        source: photos and folders of photos to use instead of the dataset; empty for the dataset.
        prompt: the file or folder whose boxes are used instead of the detector's, or None.
        device: `auto`, `cpu`, `cuda`, `cuda:1` (a certain GPU) or `mps`.
        trust_weights: whether checkpoints may run code while they are loaded.
        prompt_overrides: how the prompt file is to be interpreted.
        overwrite: whether annotations that a person edited are replaced.
        prune: whether annotations and overlays whose photo is gone are removed, except those that a person edited.
        dry_run: whether the run only prints what annotating would write.
        diff: annotations to compare with, labelme files or, when evaluating, of any format; or None.
        boxes: the source of the boxes that prompt SAM2; `file` if and only if there is a prompt file.
        attribute: whether evaluation tells how much of the missing mean IoU is due to which model.
        dataset_before_tuning: `dataset` of the config before `--tune` lowered its `conf`, over which gains are
            measured; None without `--tune`.
        annotations: files to use instead of both models, of labelme or another format; or None.
        video: whether objects are followed through clips; otherwise each frame is an image by itself.
        shard: which part of the run this is, from 1, and of how many; None: the whole run.
        merge: whether the run only completes what its shards left to be completed.
        command: the command line.
    """

    config: Config
    outputs: tuple[Output, ...]
    source: tuple[Path, ...]
    prompt: Path | None
    device: str
    trust_weights: bool
    prompt_overrides: PromptOverrides = field(default_factory=PromptOverrides)
    overwrite: bool = False
    prune: bool = False
    dry_run: bool = False
    diff: Path | None = None
    boxes: Boxes = "detector"
    attribute: bool = False
    dataset_before_tuning: DatasetConfig | None = None
    annotations: Path | None = None
    video: bool = False
    shard: tuple[int, int] | None = None
    merge: bool = False
    command: str = ""

    def own_units(self, units: Sequence[range]) -> Sequence[range]:
        """Return the units of work of this shard, which are whole batches or clips of the whole run; else all."""
        return units if self.shard is None else units[self.shard[0] - 1 :: self.shard[1]]

    @property
    def runs_detector(self) -> bool:
        """Return whether boxes come from the detector."""
        return self.boxes == "detector" and self.prompt is None and self.annotations is None

    @property
    def model_files(self) -> dict[str, Path]:
        """Return the weight files on which the results depend, by model."""
        arch = self.config.arch
        files = {} if self.annotations else {"SAM2": arch.sam_weights}
        if not self.annotations and (self.runs_detector or self.config.dataset.classes is None):  # it names them
            files = {"detector": arch.yolo_weights, **files}
        return {model: path for model, path in files.items() if path is not None}

    @property
    def needs_gt_masks(self) -> bool:
        """Return whether the run needs the ground-truth masks."""
        compares = "visual" in self.outputs and self.config.predictor.side_by_side
        return compares or self.needs_gt_instances

    @property
    def needs_gt_instances(self) -> bool:
        """Return whether the run needs the ground-truth instances."""
        return "evaluate" in self.outputs or self.boxes == "target" or self.attribute

    @property
    def annotation_folders(self) -> dict[str, Path]:
        """Return the folders whose labels must be classes of the run, by the option that names them."""
        folders = {"-a/--annotations": self.annotations, "--diff": self.diff if "evaluate" in self.outputs else None}
        return {option: folder for option, folder in folders.items() if folder is not None}


def with_label_classes(options: Options) -> Options:
    """Return options whose classes are those of the YOLO labels that `-p` names, unless the config has classes.

    So the labels keep their own classes and ids, and the detector need not be there.

    Raises:
        UserError: nothing names the classes of the labels.
    """
    config = options.config
    if options.prompt is None or config.dataset.classes is not None:
        return options
    names = label_class_names(options.prompt, options.prompt_overrides)
    if names is None:
        return options
    config.dataset.check_classes(names)
    return replace(options, config=replace(config, dataset=replace(config.dataset, classes=names)))


def with_tuning(options: Options) -> Options:
    """Return options for `--tune`: nearly all boxes count; `dataset_before_tuning` keeps the old thresholds."""
    dataset = options.config.dataset
    config = replace(options.config, dataset=replace(dataset, conf=LEAST_SCORE))
    return replace(options, config=config, dataset_before_tuning=dataset)


def check(options: Options, args: Namespace) -> None:
    """Raise UserError if options contradict each other or lack something.

    Args:
        args: the parsed command line, which shows what the user typed; `options` has the defaults, too.
    """
    for name, (subject, outputs) in NEEDS.items():
        if getattr(args, name) and not set(outputs) & set(options.outputs):
            raise UserError(f"--{name.replace('_', '-')}: is about {subject}")
    if "annotate" not in options.outputs and any(override.option == "--format" for override in args.overrides):
        raise UserError(f"--format: is about {NEEDS['overwrite'][0]}")
    checks = (
        _contradictions,
        _contradictions_of_boxes,
        _contradictions_of_annotations,
        _contradictions_of_clips,
        _contradictions_of_shards,
    )
    for problem in chain.from_iterable(problems(options, args) for problems in checks):
        raise UserError(problem)  # the first one


def _contradictions(options: Options, args: Namespace) -> Iterator[str]:
    if options.boxes == "target" and options.attribute:
        yield "--attribute: with --boxes target there is no detector to blame; leave one of the two out"
    if options.boxes == "target" and options.dataset_before_tuning:
        yield "--tune: the true boxes of --boxes target all score 1; leave one of the two out"
    for option, folder in options.annotation_folders.items():
        if options.config.dataset.classes is None:
            fact = f"{option} {folder}: its labels need dataset.classes, since no detector is asked for its names"
            listed = (each / name for each in (folder, *folder.parents[:2]) for name in (CLASS_NAMES, *NAMES_FILES))
            path = next((path for path in listed if path.is_file()), None)
            if path is None and not LabelmeFiles.recognizes(folder):
                path = next(iter(coco_files(folder)[0]), None)
            setting = shlex.quote(f"dataset.classes={path or 'FILE'}")
            yield f"{fact}; --set {setting} {'takes those there' if path else 'names them, one per line'}"
    makes_both = {"evaluate", "annotate"} <= {*options.outputs}
    if options.diff and makes_both and _same(options.diff, options.config.auto_mask.save_dir):
        yield f"--diff {options.diff}: this run writes there what evaluating would compare with; name a copy"


def _contradictions_of_boxes(options: Options, args: Namespace) -> Iterator[str]:
    if options.boxes == "target" and options.source:
        yield "--boxes target: photos of -s/--source have no target"
    sliced = options.config.detector.slice is not None
    if sliced and options.dataset_before_tuning:
        fact = "at the low scores that it begins with, boxes of slices (detector.slice) are not merged as in other runs"
        yield f"--tune: {fact}; leave one of the two out"
    for override in args.overrides:
        is_detector = override.key.startswith("detector.")
        if options.boxes == "target" and (is_detector or override.key == "dataset.conf"):
            yield f"--boxes target: the true boxes count as they stand; {override.option} would change nothing"
        if options.prompt and is_detector and override.key != "detector.classes":
            yield f"-p/--prompt: takes the place of the detector; {override.option} would change nothing"
        if override.key == "detector.overlap" and not sliced:
            yield f"{override.option}: is about slices, and detector.slice, the size of one in pixels, is not set"


def _contradictions_of_annotations(options: Options, args: Namespace) -> Iterator[str]:
    if options.annotations is None:
        return
    used = {"-p/--prompt": args.prompt, "--boxes": args.boxes, "--attribute": args.attribute, "--tune": args.tune}
    for option, value in used.items():
        if value:
            yield f"-a/--annotations: takes the place of both models, so there are no boxes for {option}"
    for override in args.overrides:
        if override.key == "dataset.conf" or override.key.startswith(("cleanup.", "detector.", "segmenter.")):
            yield f"-a/--annotations: its objects count as they stand; {override.option} would change nothing"
    if options.diff and _same(options.diff, options.annotations):
        yield f"--diff {options.diff}: is the folder of -a/--annotations; name the one before it was corrected"


def _contradictions_of_clips(options: Options, args: Namespace) -> Iterator[str]:
    if options.video and options.attribute:
        yield "--attribute: tells apart whose fault an image is, not a clip; leave --video out"
    if options.video and options.dataset_before_tuning:
        yield "--tune: in clips a box decides more than its own mask; leave --video out, frames then count as images"
    if options.video and options.config.segmenter.compile == "on":
        yield "--compile on (segmenter.compile): with --video SAM2 is never compiled; choose auto or off"
    if options.video and options.config.segmenter.window == "auto":
        yield "segmenter.window: auto is for single images; with --video SAM2 sees whole frames: choose off"
    for override in args.overrides:
        if not options.video and override.key.startswith("video."):
            yield f"{override.option.replace('_', '-', 1)}: is about clips; --video makes them of the frames"
    if not options.video and "visual" in options.outputs and options.config.predictor.format == "mp4":
        yield "predictor.format: mp4 is for clips; --video makes them of the frames"


def _contradictions_of_shards(options: Options, args: Namespace) -> Iterator[str]:
    if options.shard and options.merge:
        yield "--merge: completes what all shards left; run it without --shard when they have ended"
    if options.shard and options.prune:
        yield "--prune: looks at all photos; leave it to --merge"
    if options.merge and options.dry_run:
        yield "--merge: runs no model, and what its shards left to do is told by --dry-run without it"


def _same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)
