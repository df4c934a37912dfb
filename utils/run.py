"""A run of one of the three scripts: what they share, from its images to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from utils.annotations.plan import AnnotationPlan, plan_annotations
from utils.cli.options import Options, Output
from utils.distributed import Session, open_session
from utils.engine import Cascade, RunImages, Sink, run_loop
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.sinks import evaluation_sinks, overlay_sinks


class Models(Protocol):
    """The models of a run, loaded when they are first needed.

    Attributes:
        prompts: the boxes of a prompt file, or None.
        class_names: of the run, by class id.
    """

    prompts: Prompts | None

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def build_cascade(self) -> Cascade:
        """Build what finds the instances."""


@dataclass(frozen=True)
class Run:
    """What a script has at hand when its options are read and its inputs are found sound.

    Attributes:
        options: of the command line.
        session: the processes of the run.
        writers: threads that score, encode and write.
        images: all images of the run.
        models: detector and SAM2, or the annotations in their place.
        plan: which annotations are to be written; without them, every image is to be worked on.
    """

    options: Options
    session: Session
    writers: Writers
    images: RunImages
    models: Models
    plan: AnnotationPlan

    @property
    def nothing_to_do(self) -> bool:
        """Whether it was a dry run, or all that it would write is there."""
        return self.plan.nothing_to_do

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, by class id."""
        return self.models.class_names

    def execute(self, own: Sequence[Sink]) -> int:
        """Send every image that is left through the models into the outputs; return the exit code.

        Args:
            own: the sinks of the script's own output; those of `--also` are added. Evaluation comes last, so its
                metric lines are the last that a run prints.
        """
        names = self.class_names
        self.images.check_gt_masks(len(names))
        cascade = self.plan.skip_finished(self.models.build_cascade())
        sinks: dict[Output, Sequence[Sink]] = {self.options.outputs[0]: own}
        for output in self.options.outputs[1:]:
            sinks[output] = SINKS[output](self)
        ordered = [sink for output in OUTPUTS for sink in sinks.get(output, ())]
        batches = self.images.batches(self.session.shard(self.plan.units))
        return run_loop(cascade, batches, ordered, self.session).exit_code


OUTPUTS: tuple[Output, ...] = ("visual", "annotate", "evaluate")
"""The order in which sinks take an image and print their lines."""

SINKS: dict[Output, Callable[[Run], Sequence[Sink]]] = {
    "visual": lambda run: overlay_sinks(run.options.config.predictor, run.class_names, run.writers),
    "annotate": lambda run: run.plan.sinks(run.class_names, run.writers),
    "evaluate": lambda run: evaluation_sinks(run.options, run.class_names, run.writers),
}
"""What `--also` adds to a run."""


@contextmanager
def open_run(
    options: Options,
    open_images: Callable[[Options, Session], RunImages],
    open_models: Callable[[Options, RunImages, Session], Models],
) -> Iterator[Run]:
    """Find the inputs of a run sound, one after the other, and plan its annotations; no large model is loaded yet.

    Args:
        open_images: finds the images and checks what belongs to them.
        open_models: fetches weights and reads the prompt file.

    Raises:
        UserError: an input cannot be used.
    """
    with open_session() as session, Writers() as writers:
        images = open_images(options, session)
        models = open_models(options, images, session)
        plan = plan_annotations(options, images, models.prompts, session)
        yield Run(options, session, writers, images, models, plan)
