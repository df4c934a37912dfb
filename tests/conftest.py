"""What several test files use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.project import Project

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A process of pytest-xdist ignores Ctrl-C, and so would all processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many processes as cores. Torch reads this when it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process, with one thread, that runs in the repository."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def torchrun() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script, or a module (`-m`, name), in two processes that torchrun starts."""
    return lambda *arguments: python(*TWO_PROCESSES, *arguments)


@pytest.fixture
def run_alone() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script, or a module (`-m`, name), in one process of its own."""
    return python


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder of photos to annotate, and its config."""
    from tests.helpers.project import Project

    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is annotated, to be copied."""
    from tests.helpers.project import Project

    project = Project(tmp_path_factory.mktemp("annotated") / "project")
    assert project.run() == 0
    assert project.seen == project.ids()
    return project


@pytest.fixture
def done(project: Project, annotated: Project) -> Project:
    """A project that is annotated: it has the files that a run makes."""
    project.copy_run(annotated)
    return project
