"""The command line's options for prompt files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import get_args

from utils.classes import load_class_names
from utils.errors import UserError
from utils.prompts.rows import BoxFormat, CategoryOffset, Given
from utils.readers.coco import COCO_CLASSES


def add_prompt_options(parser: ArgumentParser) -> None:
    """Adds `-p` and what settles the meaning of its file."""
    add = parser.add_argument
    add(
        "-p",
        "--prompt",
        type=Path,
        metavar="PATH",
        help="take the boxes from a prompt file, or a folder of YOLO labels or labelme files, not from the detector",
    )
    add("--bbox_format", choices=get_args(BoxFormat), help="what its boxes mean: two corners, or a corner and the size")
    offsets = get_args(CategoryOffset)
    add("--category_offset", choices=offsets, help="its first category id, or coco91: COCO's own ids, with gaps")
    names = "a file with one name a line, or coco: what its category ids index, in place of the dataset's classes"
    add("--prompt_names", metavar="FILE", help=names)


def given_of(options: Namespace) -> Given:
    """What the options say of the prompt file.

    Raises:
        UserError: there is no prompt file, or its class names cannot be read.
    """
    given = {"--bbox-format": options.bbox_format, "--category-offset": options.category_offset}
    for option, value in (given | {"--prompt-names": options.prompt_names}).items():
        if value is not None and options.prompt is None:
            raise UserError(f"{option}: there is no prompt file; -p/--prompt names it")
    names = options.prompt_names
    if names is not None:
        names = COCO_CLASSES if names == "coco" else load_class_names(Path(names).absolute())
    return Given(options.bbox_format, options.category_offset, names)
