"""What a run prints: lines to standard output, warnings to standard error, by the first of its processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO


def say(lines: Iterable[str]) -> None:
    """Print lines; characters that the terminal's encoding lacks are spelled out."""
    _print(lines, sys.stdout)


def warn(lines: Iterable[str]) -> None:
    """Print warnings to standard error, each behind the word `warning`."""
    _print((f"warning: {line}" for line in lines), sys.stderr)


def _print(lines: Iterable[str], stream: TextIO) -> None:
    if os.environ.get("RANK", "0") != "0":  # torchrun's: the first process speaks for all
        return
    encoding = stream.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
