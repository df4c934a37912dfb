"""Errors with messages for the user; `utils/cli/guard.py` prints them and sets the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class UserError(ValueError):
    """Report an input that cannot be used; the message names the file and the place. Scripts print it and exit 2."""


class SampleError(Exception):
    """Report an image that cannot be used; the run names it, goes on without it and exits 1."""

    def __init__(self, image_id: str, path: Path, reason: str) -> None:
        super().__init__(image_id, path, reason)  # all of them, so that it can be sent to another process
        self.image_id, self.path, self.reason = image_id, path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class RunError(Exception):
    """Report that a run failed after it wrote part of its outputs. Scripts print the message and exit 3."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


SHOWN = 10


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Raise UserError if there are problems: name the first ten and say how many more there are.

    Raises:
        UserError: `problems` is not empty.
    """
    if problems:
        raise UserError("\n  ".join([heading, *_first(problems)]))


def refuse_all(heading: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if there are problems of any kind: name the first ten of each and say how many more there are.

    Args:
        problems: name of a kind -> its problems.

    Raises:
        UserError: some kind is not empty.
    """
    lines = [heading]
    for kind, found in problems.items():
        if found:
            lines.append(f"  {kind} ({len(found)}):")
            lines += [f"    {line}" for line in _first(found)]
    if len(lines) > 1:
        raise UserError("\n".join(lines))


def first_of(names: Sequence[str]) -> str:
    """List the first ten names and say how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _first(problems: Sequence[str]) -> list[str]:
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return [*problems[:SHOWN], *more]
