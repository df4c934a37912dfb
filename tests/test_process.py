"""Signals, and standard streams that are closed or full, by the scripts as programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.project import PROGRAM, REPOSITORY, Project, tree

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="sends signals")]

SCRIPTS = ("yolo_sam.py", "yolo_sam_visual.py", "yolo_sam_auto_anno_generator.py", "yolo/predict.py")


def shell(command: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_midst_of_a_run_ends_it_in_one_line(project: Project, number: int, code: int) -> None:
    command = [sys.executable, str(PROGRAM), *project.arguments()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (project.out / ".records.json").exists() and not [*project.out.glob("*.json")]:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not (project.out / ".lock").exists()
    assert project.run() == 0


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_script_is_being_imported_ends_it_in_one_line(script: str, number: int, code: int) -> None:
    wait = f"import sys, os, runpy, signal, numpy; sys.argv = ['{script}', '--help']"
    # The first import beyond the standard library and the file that answers signals is where the signal arrives.
    hook = (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in ('datasets.loading', 'models.cascade'): os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    program = f"{wait}\n{hook}runpy.run_path('{script}', run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (code, "interrupted\n")


REDIRECTIONS = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_output_that_nobody_takes_ends_no_run_and_gets_into_no_file(done: Project, redirection: str) -> None:
    unbroken = tree(done.out)
    command = " ".join([sys.executable, str(PROGRAM), *done.arguments("--set", "auto_mask.save_dir=OUT")])
    command = command.replace("OUT", str(done.folder / "second"))
    ended = shell(f"{command} {redirection}")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "Exception ignored" not in ended.stderr
    assert {*tree(done.folder / "second")} == {*unbroken}


def test_a_reader_that_goes_ends_no_run(project: Project) -> None:
    command = " ".join([sys.executable, str(PROGRAM), *project.arguments()])
    done = shell(f"set -o pipefail; {command} 2>&1 | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (project.out / "coco" / "instances.json").exists()


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "2>&-", "2>/dev/full", "| true"])
@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("--no-such-option", 2)])
def test_help_and_refusals_have_their_exit_codes(redirection: str, arguments: str, code: int) -> None:
    done = shell(f"{sys.executable} yolo_sam.py {arguments} {redirection}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NOBODY, "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces",
)
def test_a_uid_without_a_name_or_a_home_runs_as_any_other(tmp_path: Path) -> None:
    """As `docker run --user 12345` starts a program: torch asks for the user's name, which nobody knows."""
    script = "from utils.cli.guard import name_user; name_user(); import torch._inductor.runtime.cache_dir_utils as c; "
    script += "import getpass, os; from pathlib import Path; print(c.cache_dir(), getpass.getuser(), Path.home())"
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", script], env=bare, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["uid12345", str(tmp_path)]
