"""What can go wrong on the user's side; utils/cli.py turns it into messages and exit codes."""

from __future__ import annotations

from pathlib import Path


class UserError(ValueError):
    """What the user gave cannot be used; the message names the file and the place. Scripts print it and exit 2."""


class SampleError(Exception):
    """One image cannot be used; the run names it, goes on without it and exits 1."""

    def __init__(self, image_id: str, path: Path, reason: str) -> None:
        super().__init__(image_id, path, reason)  # all of them, so that it can be sent to another process
        self.image_id, self.path, self.reason = image_id, path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class RunError(Exception):
    """The run cannot go on, after part of its outputs was written. Scripts print the message and exit 3."""


def first_line(error: BaseException) -> str:
    """What an error says, shortly; its kind, if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
