"""Row 5: this project, through the scripts' own parts and its one loop, in process; the models stay loaded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.gates import Evidence, Found
from benchmarks.rows import SCOPES, emptied
from benchmarks.workload import Workload
from datasets.loading import Batches, build_batches
from models.cascade import build_cascade
from models.detector import class_names
from utils.annotations.plan import plan_annotations
from utils.cli.options import Options, Output
from utils.cli.parsers import parse
from utils.distributed import Session
from utils.engine import RunSummary, Sink, run
from utils.evaluation.evaluator import Evaluator
from utils.io.writers import Writers
from utils.structures import Instances, Sample

SCRIPTS: dict[str, Output] = {"metrics": "evaluate", "annotations": "annotate", "overlays": "visual"}
"""What a scope makes -> what the command line calls it."""


class ProjectRow:
    """The project as its scripts build it.

    Args:
        work: images, boxes, weights and a config.
        precision: `fp32`, `bf16` or `fp16`.
        arguments: further command-line options of the scripts.
    """

    def __init__(self, work: Workload, precision: str, arguments: Sequence[str] = ()) -> None:
        self.work, self.session = work, Session()
        self.matrix: np.ndarray | None = None
        boxes = [] if work.yolo_weights else ["-p", str(work.prompts)]
        device = ["--device", work.order.device, "--precision", precision]
        self.out = work.folder / f"project-{precision}"
        sections = {"evaluator": "evaluation", "predictor": "masks", "auto_mask": "annotations"}
        outputs = [f"--set={section}.save_dir={self.out / name}" for section, name in sections.items()]
        self.argv = ["-c", str(work.config), *boxes, *device, *outputs, *arguments]
        options = self._options("all")
        self.names = class_names(options)
        images = self._batches(options, 0)
        self.prompts = read_prompts(options, images, self.session)
        self.cascade = build_cascade(options, self.names, images, self.prompts, self.session)

    def ready(self, scope: str, count: int, *probes: Sink) -> Callable[[], int]:
        """See Row.

        Args:
            probes: sinks that look on.
        """
        emptied(self.out)
        options = self._options(scope)
        return partial(self._run, options, self._batches(options, count), scope, [HostMasks(), *probes])

    def evidence(self, count: int) -> Evidence:
        """See Row."""
        capture, files = Capture(), [f"annotations/{self.work.image_id(i)}.json" for i in range(count)]
        self.ready("metrics+annotations", count, capture)()
        return Evidence(capture.found, self.matrix, [self.out / name for name in files])

    def _options(self, scope: str) -> Options:
        """The options of the script, and of its `--also`, that make the outputs of a scope; one at least."""
        asked = [script for name, script in SCRIPTS.items() if name in SCOPES[scope]] or ["visual"]
        return parse(asked[0], None, [*self.argv, *(["--also", *asked[1:]] if asked[1:] else [])])

    def _batches(self, options: Options, count: int | None) -> Batches:
        """The first `count` images, or all."""
        batches = build_batches(options, self.session)
        cut = (
            [range(unit.start, min(unit.stop, count)) for unit in batches.units] if count is not None else batches.units
        )
        batches.units = [unit for unit in cut if len(unit)]
        return batches

    def _run(self, options: Options, batches: Batches, scope: str, probes: Sequence[Sink]) -> int:
        """One pass, as a script's `main` makes it; what it prints is kept off the screen."""
        silence = io.StringIO()
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence), Writers() as writers:
            plan = plan_annotations(options, batches, self.prompts, self.session)
            sinks = build_sinks(options, self.names, writers, plan) if SCOPES[scope] else []
            summary = run(self.cascade, batches, [*sinks, *probes], self.session)
        self.matrix = next((sink.matrix for sink in sinks if isinstance(sink, Evaluator)), None)
        assert not summary.failures, summary.failures
        return summary.images


class HostMasks:
    """A sink that asks for every mask on the host, where the plain loop's predictor leaves it."""

    def __init__(self) -> None:
        self.pixels = 0

    def write(self, sample: Sample, instances: Instances) -> None:
        """Looks at the crops."""
        self.pixels += sum(mask.crop.size for mask in instances.masks)

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """Nothing to say."""
        return []


class Capture(HostMasks):
    """A sink that keeps all masks, for the gates."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []

    def write(self, sample: Sample, instances: Instances) -> None:
        """Keeps the masks of an image."""
        masks = np.zeros((len(instances), *instances.size), bool)
        for full, mask in zip(masks, instances.masks):
            full[mask.slices] = mask.crop
        self.found.append(Found.of(masks, instances.mask_scores, instances.detections.class_ids))
