"""Render YOLOv8 + SAM2 instances over their images: mask, outline, box, name, score.

python yolo_sam_visual.py                                      the embedded demo
python yolo_sam_visual.py -c configs/official.json -s photos/  your own photos, with the official models
python yolo_sam_visual.py -c config.json -p prediction.json    boxes from a prompt file; YOLO does not run
python yolo_sam_visual.py --video --set predictor.format=mp4   a film of each clip
python yolo_sam_visual.py --set predictor.side_by_side=true    the target beside the prediction
torchrun --nproc_per_node=4 yolo_sam_visual.py -c config.json  four GPUs
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
    from utils.run import build_renderer, open_run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return the exit code."""
    options = parse("visual", __doc__, argv)
    with open_run(options, open_images, RunModels) as run:
        if run.plan.nothing_to_do:
            return 0
        renderer = build_renderer(run)
        return run.execute([renderer])


if __name__ == "__main__":
    sys.exit(guarded(main))
