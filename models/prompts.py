"""The prompt file of a run, read before its models are loaded, since what it says decides what there is to do."""

from __future__ import annotations

import sys

from models.detector import class_names
from models.weights import yolo_weights
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import print_lines
from utils.errors import UserError
from utils.prompts.prompts import Prompts, load_prompts
from utils.prompts.table import RunImages


def read_prompts(options: Options, images: RunImages, session: Session) -> Prompts | None:
    """The boxes of the prompt file, or None if the options name none; the first process prints how it was read.

    Only where the options name no classes the detector is loaded, which names them.

    Args:
        images: those of the run.
        session: the processes of the run.

    Raises:
        UserError: the file cannot be used, or the class names are not to be had.
    """
    if options.prompt is None:
        return None
    if options.dry_run and options.config.dataset.classes is None:
        weights = yolo_weights(options.config.arch)
        if not weights.is_file():
            raise UserError(f"{weights}: missing, and a dry run downloads nothing; with dataset.classes it needs none")
    prompts = load_prompts(
        options.prompt, class_names(options), images, options.prompt_overrides, options.config.detector.classes
    )
    if session.is_main:
        print_lines(prompts.finding)
        for line in prompts.warnings:
            print(f"warning: {line}", file=sys.stderr)
    return prompts
