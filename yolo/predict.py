"""Writes YOLO's boxes to a prompt file; a run with `-p` and this file equals a run with YOLO itself.

    python -m yolo.predict -c config.json                       for the dataset's split, next to the weights
    python -m yolo.predict -c config.json -s photos/ -o a.json  for photos
    python -m yolo.predict -c config.json --video               for all frames of clips

A low -conf keeps more boxes; the -conf of a run with the file filters them again.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from utils.cli.guard import guarded, packages_needed, prepare_process

if __name__ == "__main__":  # before the imports that take long
    prepare_process()

with packages_needed():
    import numpy as np

    from datasets.loading import open_images
    from models.detector import BoxSource
    from models.loading import detector_boxes, load_detector, run_classes
    from utils.cli.arguments import Parser
    from utils.cli.options import Options
    from utils.cli.outputs import check_new_file
    from utils.cli.parsers import images_parser, options_of, overrides_as_args, path_of
    from utils.device import choose_device
    from utils.distributed import Session
    from utils.engine import run_loop
    from utils.errors import UserError
    from utils.io.writers import locked_file
    from utils.masks import Mask
    from utils.prompts.writer import PromptSink
    from utils.structures import Instances, Sample


FILE_NAME = "prediction.json"


class BoxCascade:
    """Detections as instances whose masks are empty.

    Args:
        boxes: gives boxes and their classes.
    """

    def __init__(self, boxes: BoxSource) -> None:
        self.boxes = boxes

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """Yield the boxes of each image of a batch, in order."""
        nothing = Mask(0, 0, np.zeros((0, 0), bool))
        for sample, detections in zip(samples, self.boxes(samples)):
            unscored = np.full(len(detections), np.nan, np.float32)
            yield sample, Instances(sample.size, detections, [nothing] * len(detections), unscored)

    def summary_lines(self, session: Session) -> list[str]:
        """What the detector has to say at the end of a run."""
        return self.boxes.summary_lines(session)


def predict_parser() -> Parser:
    """Build the parser of this command."""
    parser = images_parser(__doc__)
    where = f"the prompt file (default: {FILE_NAME} beside the weights)"
    parser.add_argument("-o", "--output", type=path_of, metavar="FILE", help=where)
    parser.add_argument("--overwrite", action="store_true", help="replace the prompt file if there is one")
    parser.add_argument("--video", action="store_true", help="take clips, and all their frames; for a run with --video")
    return parser


def destination(options: Options, output: Path | None, *, overwrite: bool) -> Path:
    """Return the path of the prompt file, `output` or next to the weights; UserError if it cannot be written."""
    weights = options.config.arch.yolo_weights
    if weights is None:
        raise UserError("arch.yolo_weights: not set; name the detector's checkpoint")
    path = output.absolute() if output else weights.with_name(FILE_NAME)
    check_new_file(path, "-o/--output", overwrite=overwrite)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file; return the exit code."""
    args = predict_parser().parse_args(argv)
    options = replace(options_of(args), video=args.video)
    if "LOCAL_RANK" in os.environ or "RANK" in os.environ:
        raise UserError("start yolo.predict without torchrun: one process writes the file")
    path = destination(options, args.output, overwrite=args.overwrite)
    session = Session()
    images = open_images(options, session)
    detector = load_detector(options.config, choose_device(options.device, session), trust=options.trust_weights)
    class_map = run_classes(options.config.dataset, lambda: detector.names)
    boxes = detector_boxes(detector, class_map, options.config.dataset)
    with locked_file(path, "-o/--output"), PromptSink(path) as sink:
        noun = "frame" if args.video else "image"
        summary = run_loop(BoxCascade(boxes), images.batches(), [sink], session, noun=noun)
    script = ["yolo_sam_auto_anno_generator.py", "-s", *args.source] if args.source else ["yolo_sam.py"]
    video = ["--video"] if args.video else []
    overrides = overrides_as_args(args, "detector.slice", "detector.overlap")  # which a run with the file refuses
    print("use it: ", shlex.join(map(str, ["python", *script, *video, *overrides, "-p", path])))
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(guarded(main))
