"""What surrounds every command: exit codes, missing packages, closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.cli.guard import guarded
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.io.writers import WriterError

SCRIPTS = sorted(path.name for path in REPOSITORY.glob("yolo_sam*.py"))
BENCHMARKS = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py") if "__main__" in path.read_text())
MODULES = ["datasets.scenes", "sam.finetune", "yolo.finetune", "yolo.predict", "utils.evaluation.compare"]
MODULES += [f"benchmarks.{name}" for name in BENCHMARKS]


def failing(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    "error, code, message",
    [
        (UserError("config.json: no"), 2, "error: config.json: no\n"),
        (
            WriterError(Path("a.json"), OSError(28, "No space left")),
            3,
            "error: a.json: cannot be written: No space left\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(error)) == code
    assert capsys.readouterr() == ("", message)


def test_the_exit_code_of_main_passes() -> None:
    assert guarded(lambda: 1) == 1


def test_the_unforeseen_shows_its_traceback_and_is_not_taken_for_failed_images(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert guarded(failing(ZeroDivisionError())) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("program", [*SCRIPTS, *MODULES])
def test_outside_the_environment_one_sentence_says_what_to_do(program: str, tmp_path: Path) -> None:
    what = [str(REPOSITORY / program)] if program in SCRIPTS else ["-m", program]
    without_packages = [sys.executable, "-S", *what]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(without_packages, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the package ")
    assert "is not installed in this Python" in done.stderr and "requirements.txt" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_package_that_is_missed_later_is_named_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(ModuleNotFoundError("No module named 'sam2.build'", name="sam2.build"))) == 2
    assert capsys.readouterr().err.startswith("error: the package sam2 is not installed in this Python (")


SPEAKING = """
import sys
from pathlib import Path
from utils.cli.guard import guarded
from utils.io.terminal import say, warn

def main():
    for i in range(20000):
        say([f"line {i}"])
    warn(["still here"])
    Path(sys.argv[1]).write_text("whole")
    return 0

sys.exit(guarded(main))
"""


@pytest.mark.parametrize("end", ["| head -n 1", ">&-", "2>&- >&-"])
def test_a_run_that_nobody_listens_to_any_more_completes_its_files_quietly(end: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -c '{SPEAKING}' {tmp_path / 'file'} {end}; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout == ("line 0\n0\n" if "head" in end else "0\n")
    assert done.stderr == ("" if "2>" in end else "warning: still here\n")
    assert (tmp_path / "file").read_text() == "whole"


def test_help_behind_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} {REPOSITORY / SCRIPTS[0]} --help | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("u0\n", "")
