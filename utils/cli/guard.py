"""Run every command so that an error, a signal or a closed stream ends in one message at most and an exit code.

Nothing but the standard library is imported here, so that a Python without the packages gets that far, and a signal is
answered while the packages are being imported.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from utils.cores import limit_threads
from utils.errors import RunError, UserError
from utils.io.terminal import silence, write_lines

OLDEST_PYTHON = (3, 10)

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


def prepare_process() -> None:
    """Prepare a process for imports that take long: Ctrl-C and SIGTERM end it without a traceback, until `guarded`.

    Some of what is imported also wants to know the user, or how many threads to start.
    """
    name_user()
    limit_threads()
    for number, code in _codes().items():
        signal.signal(number, lambda *_, code=code: _end(code))


@contextlib.contextmanager
def packages_needed() -> Iterator[None]:
    """Surround imports: where a package is missing, the program ends with 2 and one sentence that says what to do."""
    if sys.version_info < OLDEST_PYTHON:
        running, oldest = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST_PYTHON))
        sys.exit(_failed(2, f"error: this is Python {running} ({sys.executable}); Python {oldest} or later is needed"))
    try:
        yield
    except ModuleNotFoundError as error:
        sys.exit(_failed(2, f"error: {_advice(error)}"))


def guarded(main: Callable[[], int]) -> int:
    """Run `main`; what a user can put right ends in one message and no traceback.

    Where nobody reads what is printed, as behind `| head`, the run goes on in silence.

    Returns:
        what `main` returns, or 2 for a UserError or a missing package, 3 for a RunError or anything unforeseen (with
        its traceback), 130 for Ctrl-C, and 143 for SIGTERM.
    """
    with _process_of_a_run():
        try:
            return main()
        except UserError as error:
            return _failed(2, f"error: {error}")
        except ModuleNotFoundError as error:
            return _failed(2, f"error: {_advice(error)}")
        except RunError as error:
            return _failed(3, f"error: {error}")
        except Terminated:
            return _failed(TERMINATED, "terminated")
        except KeyboardInterrupt:
            return _failed(INTERRUPTED, "interrupted")
        except Exception:
            print(traceback.format_exc(), file=sys.stderr)
            return 3


def name_user() -> None:
    """Give the process a user name and a home if its uid has none, as under `docker run --user`: torch needs both."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()


class Unfailing:
    """Write a text stream; discard what follows once its reader is gone or its disk is full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            self._stream.write(text)
        except OSError:
            silence(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _process_of_a_run() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C and Terminated at SIGTERM; let no output that nobody takes end the run."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    name_user()
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    before, streams = {}, (sys.stdout, sys.stderr)
    with contextlib.suppress(ValueError):  # in another thread than the main one
        for number in _codes():
            before[number] = signal.signal(number, handlers[number])
    _open_missing()
    sys.stdout, sys.stderr = Unfailing(sys.stdout), Unfailing(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        for number, handler in before.items():
            signal.signal(number, handler)


def _codes() -> dict[signal.Signals, int]:
    """Return the exit codes of the signals that this process handles, not ignored or handled by another program.

    What torchrun ends with SIGTERM ends at once: it may wait for a process that is gone.
    """
    codes = {signal.SIGINT: INTERRUPTED}
    if os.environ.get("WORLD_SIZE", "1") == "1":
        codes[signal.SIGTERM] = TERMINATED
    theirs = (signal.SIG_IGN, None)
    return {number: code for number, code in codes.items() if signal.getsignal(number) not in theirs}


def _end(code: int) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(code)


def _open_missing() -> None:
    """Open the null device in the place of closed standard streams: else the next file that is opened takes it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _advice(error: ModuleNotFoundError) -> str:
    return (
        f"the package {(error.name or str(error)).partition('.')[0]} is not installed in this Python "
        f"({sys.executable}); activate the environment in which you installed requirements.txt, such as "
        "`source .venv/bin/activate`, or install it as README.md says"
    )


def _failed(code: int, message: str) -> int:
    write_lines([message], sys.stderr)
    return code
