"""What annotating has to do: for each format, which images are missing, outdated, done, or edited by a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from utils.cli import Options
from utils.engine import Sink, print_lines
from utils.exporters.ledger import State
from utils.exporters.sink import AnnotationSink
from utils.exporters.tasks import Task, build_tasks
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

    Raises:
        UserError: as `build_tasks`.
    """

    def __init__(self, options: Options, images: Images) -> None:
        self._tasks = build_tasks(options, images.ids)
        self._ids, self._overwrite, self._dry = images.ids, options.overwrite, options.dry_run
        with ThreadPoolExecutor() as pool:
            self._states = [list(pool.map(task.ledger.state, images.ids, images.paths)) for task in self._tasks]
        self._only = options.outputs == ("annotate",)
        if self._only:
            images.units = [unit for unit in images.units if any(map(self._unfinished, unit))]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, or nothing is to be done."""
        left = any(map(self._unfinished, range(len(self._ids))))
        shared = [task.shared for task in self._tasks if task.shared]
        return self._dry or (self._only and not left and all(each.fresh(self._ids) for each in shared))

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


def plan_annotations(options: Options, images: Images) -> AnnotationPlan:
    """The plan of a run, printed."""
    plan = AnnotationPlan(options, images)
    print_lines(plan.lines())
    return plan
