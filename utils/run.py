"""Set up a run of one of the three scripts: its images, models, plan and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from utils.annotations.plan import AnnotationPlan, NoCascade, plan_annotations
from utils.annotations.source import open_annotations
from utils.cli.options import Options, Output
from utils.cli.outputs import output_folders
from utils.config import PredictorConfig
from utils.distributed import Session, open_session
from utils.engine import Cascade, RunImages, Sink, run_loop
from utils.evaluation.comparison import Comparison
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.files import date_of_evaluation
from utils.evaluation.provenance import Provenance
from utils.evaluation.report.pictures import WorstImages
from utils.io.terminal import say
from utils.io.writers import Writers, locked_folder
from utils.metrics.attribution import Attribution
from utils.prompts.prompts import Prompts
from utils.visual.overlay import OverlaySink


class Models(Protocol):
    """Load the models of a run when they are first needed.

    Attributes:
        prompts: the boxes of a prompt file, or None.
        class_names: of the run, by class id.
        device_text: names the device and the precision once the cascade is built.
    """

    prompts: Prompts | None
    device_text: str

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def build_cascade(self) -> Cascade:
        """Build the cascade that finds the instances."""


@dataclass(frozen=True)
class Run:
    """Hold what a script needs after its options are read and its inputs are checked.

    Attributes:
        options: of the command line.
        session: the processes of the run.
        writers: threads that score, encode and write.
        images: all images of the run.
        models: detector and SAM2, or the annotations in their place.
        plan: which annotations are to be written; a run that writes none works on every image.
    """

    options: Options
    session: Session
    writers: Writers
    images: RunImages
    models: Models
    plan: AnnotationPlan

    @property
    def nothing_to_do(self) -> bool:
        """Return whether this is a dry run, or everything that it would write exists already."""
        return self.plan.nothing_to_do

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the class names, by class id."""
        return self.models.class_names

    def execute(self, own: Sequence[Sink]) -> int:
        """Send every image that is not finished yet through the models into the outputs; return the exit code.

        Args:
            own: the sinks of the script's own output; those of `--also` are added.
        """
        self.images.check_gt_masks(len(self.class_names))
        cascade = self.plan.skip_finished(self.models.build_cascade() if self.plan.units else NoCascade())
        batches = self.images.batches(self.session.shard(self.plan.units))
        script, *others = self.options.outputs
        sinks = {script: own} | {output: OUTPUTS[output](self) for output in others}
        ordered = [sink for output in OUTPUTS for sink in sinks.get(output, ())]
        unit = "frame" if self.options.video else "image"
        return run_loop(cascade, batches, ordered, self.session, unit).exit_code


def build_evaluator(run: Run) -> Evaluator:
    """Build the sink that scores images against their ground truth; the metrics are in `utils/metrics/summary.py`."""
    options, names = run.options, run.class_names
    config, folder = options.config, options.config.evaluator.save_dir
    if replaced := date_of_evaluation(folder):
        say([f"replaces the evaluation of {replaced} in {folder}; -o DIR puts this one elsewhere"])
    return Evaluator(
        names,
        folder,
        run.writers,
        WorstImages(config.name, config.evaluator.report_images) if config.evaluator.report else None,
        Attribution(len(names), config.evaluator.attribution) if options.attribute else None,
        None if options.diff is None else Comparison(names, open_annotations(options.diff, names)),
        Provenance(options, lambda: run.models.device_text, run.session.world_size) if run.session.is_main else None,
    )


def build_renderer(config: PredictorConfig, class_names: Sequence[str], writers: Writers) -> OverlaySink:
    """Build the sink that renders overlays: one picture per image, or with `mp4` one video per clip."""
    if config.format == "mp4":
        from utils.visual.video import VideoOverlaySink  # which needs PyAV

        return VideoOverlaySink(config, class_names, writers)
    return OverlaySink(config, class_names, writers)


OUTPUTS: dict[Output, Callable[[Run], Sequence[Sink]]] = {
    "visual": lambda run: [build_renderer(run.options.config.predictor, run.class_names, run.writers)],
    "annotate": lambda run: run.plan.sinks(run.class_names, run.writers),
    "evaluate": lambda run: [build_evaluator(run)],
}
"""What `--also` adds to a run, in the order in which sinks take an image and print their lines.

Evaluation comes last, so its metric lines are the last that a run prints.
"""


@contextmanager
def open_run(
    options: Options,
    open_images: Callable[[Options, Session], RunImages],
    open_models: Callable[[Options, RunImages, Session], Models],
) -> Iterator[Run]:
    """Check the inputs of a run, one after the other, and plan its annotations; no large model is loaded yet.

    Args:
        open_images: finds the images and checks what belongs to them.
        open_models: fetches weights and reads the prompt file.

    Raises:
        UserError: an input cannot be used, or another run writes to the same folder.
        RunError: at the end, a folder of outputs was removed meanwhile.
    """
    with open_session() as session, ExitStack() as locks, Writers() as writers:
        images = open_images(options, session)
        models = open_models(options, images, session)
        if session.is_main and not options.dry_run:
            folders = {os.path.realpath(folder): (folder, key) for key, folder in output_folders(options).items()}
            for folder, key in folders.values():
                locks.enter_context(locked_folder(folder, key))
        session.barrier()  # none writes before the first one knows that it may
        plan = plan_annotations(options, images, models.prompts, session)
        yield Run(options, session, writers, images, models, plan)
