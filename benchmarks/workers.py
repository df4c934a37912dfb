"""A process for each row and precision, so that rows share no allocator and one that fails does not end the others."""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.gates import Evidence
from benchmarks.limit import LimitRow
from benchmarks.measuring import Pass, idle_share, measure
from benchmarks.project import ProjectRow
from benchmarks.rows import AutoAnnotateRow, OfficialRow, PlainRow, Row
from benchmarks.workload import Workload

T = TypeVar("T")

ROWS = {
    1: "plain loop, with rendering",
    2: "plain loop",
    3: "official set_image + predict",
    4: "Ultralytics auto_annotate",
    5: "this project",
    6: "bare encoder + decoder",
}


@dataclass(frozen=True)
class Recipe:
    """What a worker builds.

    Attributes:
        row: 1 to 6.
        precision: `fp32`, `bf16` or `fp16`.
        work: images, boxes and weights.
        compile_mode: of row 6: a mode of `torch.compile`, or `off`.
        arguments: of row 5: further command-line options of the scripts.
    """

    row: int
    precision: str
    work: Workload
    compile_mode: str = "off"
    arguments: tuple[str, ...] = ()


@functools.cache
def row_of(recipe: Recipe) -> Row:
    """The row, its models loaded; once in a process.

    Raises:
        UnavailableError: it cannot be measured here.
    """
    if recipe.row == 5:
        return ProjectRow(recipe.work, recipe.precision, recipe.arguments)
    if recipe.row == 6:
        return LimitRow(recipe.work, recipe.precision, recipe.compile_mode)
    if recipe.row == 4:
        return AutoAnnotateRow(recipe.work)
    return (OfficialRow if recipe.row == 3 else PlainRow)(recipe.work, recipe.precision)


def load(recipe: Recipe) -> float:
    """Loads the row's models; the seconds that it took."""
    began = time.perf_counter()
    row_of(recipe)
    return time.perf_counter() - began


def one_pass(recipe: Recipe, scope: str, count: int) -> Pass:
    """Measures one pass over the first `count` images."""
    return measure(row_of(recipe).ready(scope, count), recipe.work.order.device)


def idle(recipe: Recipe, scope: str, count: int) -> float | None:
    """The GPU's idle share in one more pass."""
    return idle_share(row_of(recipe).ready(scope, count))


def evidence(recipe: Recipe, count: int) -> Evidence:
    """What the row finds in the first `count` images; in fp32 proper, without TF32."""
    import torch

    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        return row_of(recipe).evidence(count)
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


class Worker:
    """Calls functions of a recipe, each in the recipe's own process or, where that is not wanted, in this one."""

    def __init__(self, recipe: Recipe, *, own_process: bool) -> None:
        self.recipe = recipe
        # Spawned: CUDA and thread pools do not survive a fork.
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, spawn) if own_process else None

    def __call__(self, task: Callable[..., T], *arguments: Any) -> T:
        """What `task(recipe, *arguments)` returns or raises."""
        if self._pool is None:
            return task(self.recipe, *arguments)
        return self._pool.submit(task, self.recipe, *arguments).result()

    def close(self) -> None:
        """Ends the process."""
        if self._pool is not None:
            self._pool.shutdown()
