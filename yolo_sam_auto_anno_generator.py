"""Write YOLO + SAM2 instances as annotations: labelme, COCO, YOLO, VOC or Label Studio.

python yolo_sam_auto_anno_generator.py                                       the embedded demo
python yolo_sam_auto_anno_generator.py -c configs/official.json -s photos/   your own photos, official models
python yolo_sam_auto_anno_generator.py -c config.json -p prediction.json     boxes from a prompt file
python yolo_sam_auto_anno_generator.py --video -s film.mp4                   a clip: one object, one id
python yolo_sam_auto_anno_generator.py --also visual                         overlays from the same pass
torchrun --nproc_per_node=4 yolo_sam_auto_anno_generator.py -c config.json   four GPUs
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
    from utils.run import open_run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return the exit code."""
    options = parse("annotate", __doc__, argv)
    with open_run(options, open_images, RunModels) as run:
        if run.plan.nothing_to_do:
            return 0
        annotation_writers = run.plan.sinks(run.class_names, run.writers)  # one a format
        return run.execute(annotation_writers)


if __name__ == "__main__":
    sys.exit(guarded(main))
