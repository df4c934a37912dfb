"""Killed at any moment, alone or under torchrun, the next run ends with the files of an unbroken one."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.project import PROGRAM, Project, tree

pytestmark = pytest.mark.slow


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_killed_at_any_moment_the_next_run_ends_with_the_files_of_an_unbroken_one(project: Project) -> None:
    assert kills_that_struck(project, 4) > 0


def test_when_torchrun_starts_killed_processes_again_the_files_are_the_same(project: Project) -> None:
    project.settings["dataloader"]["batch_size"] = 1
    assert project.run() == 0
    unbroken = tree(project.out)
    shutil.rmtree(project.out)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=2"]
    environment = os.environ | {"DIES": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *torchrun, str(PROGRAM), *project.arguments()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"exitcode: -9", done.stderr)) >= 2
    assert re.search(r"^labelme: [1-9] to write, [1-9] done", done.stdout, re.MULTILINE)
    assert tree(project.out) == unbroken


def names_and_times(folder: Path) -> dict[str, float]:
    """When each file was changed; cheap, and of a folder in which files come and go."""
    with contextlib.suppress(FileNotFoundError):
        return {str(path): path.lstat().st_mtime for path in folder.rglob("*")}
    return {}


def kills_that_struck(project: Project, kills: int, seed: int = 0) -> int:
    """Kills run after run at random moments and checks every file; how many were not over by then.

    The settings change from run to run, so that each has to replace what the one before has written; the last one is
    left in peace and ends with the files of one unbroken run.
    """
    settings, unbroken = (["-conf", "0.25"], ["-conf", "0.5"]), []
    for arguments in settings:
        assert project.run(*arguments) == 0
        unbroken.append(tree(project.out))
        shutil.rmtree(project.out)
    rng, struck = random.Random(seed), 0
    for number in range(kills):
        command = [sys.executable, str(PROGRAM), *project.arguments(*settings[number % 2])]
        before = names_and_times(project.out)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and names_and_times(project.out) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        struck += process.wait() == -signal.SIGKILL
        for name, content in tree(project.out).items():
            if "/." not in f"/{name}":
                assert content in [files[name] for files in unbroken], f"{name} is torn"
    assert project.run(*settings[0]) == 0
    assert tree(project.out) == unbroken[0]
    return struck
