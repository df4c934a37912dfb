"""Evaluate YOLOv8 + SAM2 on a labelled Pascal-VOC split: pixel accuracy, mean IoU, measures of each class, mask AP.

python yolo_sam.py                                             the embedded demo
python yolo_sam.py -c config.json -b 16 -conf 0.25             your own config
python yolo_sam.py -c config.json -p prediction.json           boxes from a prompt file; YOLO does not run
python yolo_sam.py --video                                     clips: one object, one id
python yolo_sam.py --also visual annotate                      overlays and annotations from the same pass
torchrun --nproc_per_node=4 yolo_sam.py -c config.json         four GPUs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from utils.cli.guard import guarded, packages_needed, prepare_process

if __name__ == "__main__":  # before the imports that take long
    prepare_process()

with packages_needed():
    from datasets.loading import open_images
    from models.loading import RunModels
    from utils.cli.parsers import parse
    from utils.run import build_evaluator, open_run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return the exit code."""
    options = parse("evaluate", __doc__, argv)
    with open_run(options, open_images, RunModels) as run:
        if run.plan.nothing_to_do:
            return 0
        evaluator = build_evaluator(run)
        return run.execute([evaluator])


if __name__ == "__main__":
    sys.exit(guarded(main))
