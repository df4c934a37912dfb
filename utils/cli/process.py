"""Handle signals to the process of a command, and output that nobody reads."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


def end_at_signals() -> None:
    """Let Ctrl-C and SIGTERM end the process without a traceback, while imports or the interpreter's end take long.

    To be called before these imports. `process_of_a_run` takes over from it.
    """
    name_user()
    for number, code in _codes().items():
        signal.signal(number, lambda *_, code=code: _end(code))


def name_user() -> None:
    """Give the process a user name and a home if its uid has none, as under `docker run --user`: torch needs both."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()


def _end(code: int) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(code)


def _codes() -> dict[signal.Signals, int]:
    """Return the exit codes of the signals that this process handles, not ignored or handled by another program.

    What torchrun ends with SIGTERM ends at once: it may wait for a process that is gone.
    """
    codes = {signal.SIGINT: INTERRUPTED}
    if os.environ.get("WORLD_SIZE", "1") == "1":
        codes[signal.SIGTERM] = TERMINATED
    theirs = (signal.SIG_IGN, None)
    return {number: code for number, code in codes.items() if signal.getsignal(number) not in theirs}


@contextlib.contextmanager
def process_of_a_run() -> Iterator[None]:
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


def _open_missing() -> None:
    """Open the null device in the place of closed standard streams: else the next file that is opened takes it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


class Unfailing:
    """Write a text stream; discard what follows once its reader is gone or its disk is full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            self._stream.write(text)
        except OSError:
            self._silence()
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _silence(self) -> None:
        """Lead the stream to the null device, with what waits in it."""
        null = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(null, self._stream.fileno())
        os.close(null)
