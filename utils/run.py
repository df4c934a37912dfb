"""Set up a run of one of the three scripts: its images, models, plan and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from utils.annotations.plan import AnnotationPlan, plan_annotations
from utils.annotations.source import AnnotationFolder
from utils.class_map import ClassMap
from utils.cli.options import Options, Output
from utils.cli.outputs import output_folders
from utils.distributed import Session, open_session
from utils.engine import Cascade, RunImages, Sink, run_loop
from utils.errors import UserError
from utils.evaluation.evaluator import Comparison, Evaluator
from utils.evaluation.files import Provenance, date_of_evaluation
from utils.evaluation.report.pictures import WorstImages
from utils.evaluation.tuning import Tuning
from utils.io.terminal import say
from utils.io.writers import Writers, locked_folder
from utils.metrics.attribution import Attribution
from utils.prompts.prompts import Prompts
from utils.shards import Shards, ShardSession
from utils.visual.overlay import OverlaySink


class Models(Protocol):
    """Load the models of a run when they are first needed.

    Attributes:
        prompts: the boxes of a prompt file, or None.
        class_map: leads from the classes of masks, models and files to those of the run.
        device_text: names the device and the precision; `build_cascade` sets it.
        batches_ahead: how many batches the cascade should get before results are taken.
    """

    prompts: Prompts | None
    device_text: str

    @property
    def batches_ahead(self) -> int: ...

    @property
    def class_map(self) -> ClassMap: ...

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
        shards: the shards of the run, if this is one of them or merges them; else None.
    """

    options: Options
    session: Session
    writers: Writers
    images: RunImages
    models: Models
    plan: AnnotationPlan
    shards: Shards | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the class names, by class id."""
        return self.models.class_map.names

    def execute(self, own: Sequence[Sink]) -> int:
        """Send every image that is not finished yet through the models into the outputs; return the exit code.

        Args:
            own: the sinks of the script's own output; those of `--also` are added.
        """
        options, session = self.options, self.session
        self.images.check_gt_masks(self.models.class_map.num_listed)
        units = () if options.merge else self.plan.units  # a merge joins what the shards did
        cascade = self.plan.skip_finished(self.models.build_cascade() if units else None)
        batches = self.images.batches(session.own_share(units))
        script, *also = options.outputs
        sinks_of = {script: own, **{output: OUTPUTS[output](self) for output in also}}
        sinks = [sink for output in OUTPUTS for sink in sinks_of.get(output, ())]  # in the order of OUTPUTS
        noun = "frame" if options.video else "image"
        ahead = self.models.batches_ahead if units else 0
        with self._exchange() as exchange:
            if options.prune:
                session.barrier()  # by now no process can refuse the run any more
            self.plan.prune_orphans()
            summary = run_loop(cascade, batches, sinks, session, exchange=exchange, noun=noun, ahead=ahead)
        return summary.exit_code

    @contextmanager
    def _exchange(self) -> Iterator[Session]:
        """Yield the session that joins the results of the outputs: of the run, of its shard, or of all shards."""
        if self.shards is None:
            yield self.session
        elif self.options.merge:
            merging, self.models.device_text = self.shards.read(self.plan.unfinished)
            yield merging
            self.shards.remove()
        else:
            shard = ShardSession.of(self.session)
            yield shard
            if self.session.is_main:
                self.shards.save(shard.notes, self.models.device_text)
            say([self.shards.next_step()])


def build_evaluator(run: Run) -> Evaluator:
    """Build the sink that scores images against their ground truth; the metrics are in `utils/metrics/summary.py`."""
    options, names = run.options, run.class_names
    settings, class_map = options.config.evaluator, run.models.class_map
    if options.shard is None and (replaced := date_of_evaluation(settings.save_dir)):
        say([f"replaces the evaluation of {replaced} in {settings.save_dir}; -o DIR puts this one elsewhere"])
    comparison = None
    if options.diff is not None:
        offset = options.prompt_overrides.category_offset
        comparison = Comparison(class_map, AnnotationFolder(options.diff, class_map.index, offset))
    return Evaluator(
        names,
        settings.save_dir,
        run.writers,
        Provenance(options, lambda: run.models.device_text, run.session),
        worst_images=WorstImages(settings.report_images) if settings.report else None,
        attribution=Attribution(len(names), settings.attribution) if options.attribute else None,
        comparison=comparison,
        tuning=Tuning(names, options.dataset_before_tuning) if options.dataset_before_tuning is not None else None,
    )


def build_renderer(run: Run) -> OverlaySink:
    """Build the sink that renders overlays: one picture per image, or with `mp4` one video per clip."""
    config, sink_class = run.options.config.predictor, OverlaySink
    if config.format == "mp4":
        from utils.visual.video import VideoOverlaySink  # which needs PyAV

        sink_class = VideoOverlaySink
    return sink_class(config, run.class_names, run.writers, prune=run.options.prune)


OUTPUTS: dict[Output, Callable[[Run], Sequence[Sink]]] = {
    "visual": lambda run: [build_renderer(run)],
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
        if options.merge and session.world_size > 1:
            raise UserError("--merge: one process does it; start it without torchrun")
        images = open_images(options, session)
        models = open_models(options, images, session)
        is_shard = options.shard is not None
        shards = Shards(options, images, models.prompts) if is_shard or options.merge else None
        if session.is_main and not options.dry_run:
            # By real path: a folder that two keys name must not be locked twice.
            folders = {os.path.realpath(folder): (folder, key) for key, folder in output_folders(options).items()}
            for folder, key in folders.values():
                locks.enter_context(locked_folder(folder, key, shared=is_shard))
            if shards is not None and is_shard:
                locks.enter_context(locked_folder(shards.own_folder, shards.key))
                shards.begin()
        session.barrier()  # no process writes before the first one has locked the folders
        plan = plan_annotations(options, images, models.prompts, session)
        say(plan.lines)
        if plan.nothing_to_do:  # else `execute` prunes, after its own checks
            plan.prune_orphans()
        yield Run(options, session, writers, images, models, plan, shards)
