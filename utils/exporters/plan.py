"""What annotating has to do: for each format, which images are missing, outdated, done, or edited by a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from utils.distributed import Session
from utils.engine import Cascade, Outcome, Sink, print_lines
from utils.exporters.ledger import State
from utils.exporters.sink import AnnotationSink
from utils.exporters.tasks import Task, build_tasks
from utils.options import Options
from utils.prompts.prompts import Prompts
from utils.structures import Sample
from utils.writers import Writers


class Images(Protocol):
    """The batches of a run.

    Attributes:
        units: the positions of the images that make up each batch.
    """

    units: Sequence[range]

    @property
    def ids(self) -> list[str]:
        """The image ids of the whole dataset."""

    @property
    def paths(self) -> list[Path]:
        """Their files."""


class AnnotationPlan:
    """What there is to do.

    Args:
        options: of the run.
        images: of the run; batches of which every image is finished are left out if the run only annotates.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which has the same plan: none writes before all have looked.

    Attributes:
        finished: whether nothing is left to do, or nothing is to be done.

    Raises:
        UserError: as `build_tasks`.
    """

    def __init__(self, options: Options, images: Images, prompts: Prompts | None, session: Session) -> None:
        self._tasks = build_tasks(options, images.ids, prompts)
        self._ids, self._overwrite, self._dry = images.ids, options.overwrite, options.dry_run
        self._states = [_states(task, images, session) for task in self._tasks]
        only = options.outputs == ("annotate",)
        self._needed = {image_id for i, image_id in enumerate(self._ids) if not only or self._unfinished(i)}
        images.units = [unit for unit in images.units if any(self._ids[i] in self._needed for i in unit)]
        if options.video:  # what lies before a frame decides its tracks
            self._needed = {self._ids[i] for unit in images.units for i in unit}
        shared = [task.shared for task in self._tasks if task.shared]
        done = only and not images.units and all(each.fresh(self._ids) for each in shared)
        self.finished = self._dry or session.gather([done])[0]

    def lines(self) -> list[str]:
        """For each format with something there, what becomes of how many images; in a dry run for all."""
        shown = [
            (task, Counter(states))
            for task, states in zip(self._tasks, self._states)
            if self._dry or (task.sink is AnnotationSink and set(states) != {State.NEW})
        ]
        return [f"{task.name}: {self._fates(counts)}; {task.ledger.folder}" for task, counts in shown]

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """The sinks of all formats.

        Args:
            names: class names, indexed by class id.
        """
        return [self._sink(task, states, names, writers) for task, states in zip(self._tasks, self._states)]

    def sparing(self, cascade: Cascade) -> Cascade:
        """The cascade, spared the batches of which only images that cannot be read are unfinished."""
        return _Sparing(cascade, self._needed)

    def _sink(self, task: Task, states: Sequence[State], names: Sequence[str], writers: Writers) -> Sink:
        edited = [image_id for image_id, state in zip(self._ids, states) if state is State.EDITED]
        return task.sink(
            task.name,
            task.exporter(names),
            task.ledger,
            writers,
            self._ids,
            shared=task.shared,
            overwrite=self._overwrite,
            edited=edited,
        )

    def _unfinished(self, index: int) -> bool:
        """Whether files of an image are to be written in any format."""
        finished = {State.DONE} if self._overwrite else {State.DONE, State.EDITED}
        return any(states[index] not in finished for states in self._states)

    def _fates(self, counts: Counter[State]) -> str:
        fates = {
            State.NEW: "to write",
            State.OUTDATED: "to write again, made with other settings or from another image",
            State.DONE: "done",
            State.EDITED: "edited, to be replaced" if self._overwrite else "edited and kept",
        }
        return ", ".join(f"{counts[state]} {fate}" for state, fate in fates.items() if counts[state])


class _Sparing:
    """A cascade that passes over batches without an image that is needed."""

    def __init__(self, cascade: Cascade, needed: Collection[str]) -> None:
        self._cascade, self._needed = cascade, needed

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Outcome]:
        needed = any(sample.image_id in self._needed for sample in samples)
        return self._cascade(samples) if needed else iter(())

    def report(self, session: Session) -> list[str]:
        return self._cascade.report(session)


def plan_annotations(options: Options, images: Images, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """The plan of a run, printed by its first process; see AnnotationPlan."""
    plan = AnnotationPlan(options, images, prompts, session)
    if session.leads:
        print_lines(plan.lines())
    return plan


def _states(task: Task, images: Images, session: Session) -> list[State]:
    """How the files of each image stand; each process looks at a part of them."""
    every = range(len(images.ids))
    share = session.share(every)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda i: task.ledger.state(images.ids[i], images.paths[i]), share))
    states = dict(session.gather(list(zip(share, found))))
    return [states[i] for i in every]
