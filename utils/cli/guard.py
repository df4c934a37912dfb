"""Run every command so that any error ends in one message and an exit code.

Nothing but the standard library is imported here, so that a Python without the packages gets that far.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils.cli.process import INTERRUPTED, TERMINATED, Terminated, process_of_a_run
from utils.errors import RunError, UserError
from utils.io.terminal import write_lines

OLDEST_PYTHON = (3, 10)


@contextmanager
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
    with process_of_a_run():
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


def _advice(error: ModuleNotFoundError) -> str:
    return (
        f"the package {(error.name or str(error)).partition('.')[0]} is not installed in this Python "
        f"({sys.executable}); activate the environment in which you installed requirements.txt, such as "
        "`source .venv/bin/activate`, or install it as README.md says"
    )


def _failed(code: int, message: str) -> int:
    write_lines([message], sys.stderr)
    return code
