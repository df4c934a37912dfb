"""The rows of a comparison in their workers, warmed up and measured in turn."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.report import Cell, Result
from benchmarks.rows import SCOPES, UnavailableError
from benchmarks.settings import Settings
from benchmarks.workers import ROWS, Recipe, Worker, idle, load, one_pass
from benchmarks.workload import Workload

T = TypeVar("T")

PROFILED_BATCHES = 8
"""Batches of the pass that tells how much the GPU idles."""
FIXED_SCOPES = {4: "annotations", 6: "model"}
"""Rows that do one thing only."""


class Comparison:
    """The workers of a comparison, which start when they are first asked.

    Attributes:
        unavailable: why a row could not be measured.
        loading: seconds that loading took, by row and precision.
    """

    def __init__(self, settings: Settings, work: Workload) -> None:
        self.settings, self.work = settings, work
        self.workers: dict[tuple[int, str], Worker] = {}
        self.unavailable: dict[str, str] = {}
        self.loading: dict[str, float] = {}

    def worker(self, row: int, precision: str) -> Worker:
        """The worker of a row and precision, loaded.

        Raises:
            UnavailableError: the row cannot be measured here.
        """
        key = row, precision
        if key not in self.workers:
            given = self.settings
            recipe = Recipe(row, precision, self.work, given.compile_mode, given.arguments)
            self.workers[key] = Worker(recipe, own_process=not given.one_process)
            say(f"loading row {row}, {precision}: {ROWS[row]}")
            self.loading[f"{row} {precision}"] = self.workers[key](load)
        return self.workers[key]

    def ask(self, cell: Cell, task: Callable[..., T], count: int) -> T:
        """What a task of `workers` returns for a cell and a number of images."""
        return self.worker(cell.row, cell.precision)(task, cell.scope, count)

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers.values():
            worker.close()


def say(line: str) -> None:
    """Progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    """A new folder for all files of a run, in a given one or where temporary files go; it is removed at the end."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=given) as folder:
        yield Path(folder).absolute()


def cells(settings: Settings) -> list[Cell]:
    """What is measured, in the order of a round."""
    wanted = []
    for scope in SCOPES:
        for precision in settings.precisions:
            for row in settings.rows:
                renders = "overlays" in SCOPES[scope]
                fits = row == 5 or (row == 1 and renders) or (row in (2, 3) and not renders)
                asked = scope in settings.scopes and fits and row not in FIXED_SCOPES
                alone = FIXED_SCOPES.get(row) == scope and (row != 4 or precision == settings.precisions[0])
                if asked or alone:
                    wanted.append(Cell(row, "fp32" if row == 4 else precision, scope))
    return wanted


def measured(comparison: Comparison, began: float) -> Iterator[list[Result]]:
    """Warms up every cell, then measures all of them in turn, round by round; the results so far after each.

    Args:
        began: `time.perf_counter()` at the start of the program.
    """
    settings = comparison.settings
    sizes = warmed(comparison)
    results = [result for result, _ in sizes]
    for done in range(settings.repeats):
        round_began = time.perf_counter()
        for result, count in sizes:
            result.passes.append(comparison.ask(result.cell, one_pass, count))
        yield results
        now = time.perf_counter()
        say(f"round {done + 1} of at most {settings.repeats}: {now - round_began:.0f} s")
        if done and settings.minutes and 2 * now - began - round_began > 60 * settings.minutes:
            break
    if settings.order.device == "cuda":
        for result, count in sizes:
            try:
                result.idle = comparison.ask(result.cell, idle, min(count, PROFILED_BATCHES * settings.order.batch))
            except RuntimeError as error:  # some machines forbid profiling
                say(f"row {result.cell.row}: the profiler cannot tell how much the GPU idles: {error}")
        yield results


def warmed(comparison: Comparison) -> list[tuple[Result, int]]:
    """The cells that can be measured, each with the number of images that make a pass.

    A system that we compare with may fail, for want of memory for example; then it is left out, and why is noted.
    """
    sizes = []
    for cell in cells(comparison.settings):
        try:
            sizes.append(sized(cell, comparison))
        except (UnavailableError, RuntimeError) as error:
            if cell.row == 5:
                raise
            comparison.unavailable[f"{cell.row}, {cell.precision}, {cell.scope}"] = str(error) or type(error).__name__
    return sizes


def sized(cell: Cell, comparison: Comparison) -> tuple[Result, int]:
    """How many images make a pass of about the seconds asked for; finding out is the warm-up.

    Where they are more than a batch they are whole batches, so that shapes which a compiler has seen come again.
    """
    order, seconds = comparison.settings.order, comparison.settings.seconds
    result, count = Result(cell, 0.0), 1
    while True:
        tried = comparison.ask(cell, one_pass, count)
        result.warm_up += tried.seconds
        if count >= order.images or tried.seconds >= seconds / 4:
            break
        count = min(4 * count, order.images)
    fitting = max(1, min(order.images, round(seconds * tried.rate)))
    count = fitting - fitting % order.batch if fitting > order.batch else fitting
    say(f"warm: row {cell.row}, {cell.precision}, {cell.scope}: {count} images a pass")
    return result, count
