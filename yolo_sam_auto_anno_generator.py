"""Write labelme annotations of YOLOv8 + SAM2 instances, to be corrected in labelme and trained on.

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

from datasets.loading import build_batches
from models.cascade import build_cascade, prepare_weights
from models.detector import class_names
from models.prompts import read_prompts
from utils.annotations.plan import plan_annotations
from utils.cli.parsers import guarded, parse
from utils.distributed import open_session
from utils.engine import run
from utils.io.writers import Writers
from utils.sinks import build_sinks


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; the exit code."""
    options = parse("annotate", __doc__, argv)
    with open_session() as session, Writers() as writers:
        batches = build_batches(options, session)
        prepare_weights(options, session)
        prompts = read_prompts(options, batches, session)
        plan = plan_annotations(options, batches, prompts, session)
        if plan.nothing_to_do:
            return 0
        names = class_names(options)
        batches.check_targets(len(names))
        batches.units = session.shard(plan.units)
        cascade = build_cascade(options, names, batches, prompts, session)
        return run(plan.skip_finished(cascade), batches, build_sinks(options, names, writers, plan), session).exit_code


if __name__ == "__main__":
    sys.exit(guarded(main))
