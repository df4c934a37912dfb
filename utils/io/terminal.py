"""What a run prints: lines to standard output, warnings to standard error, by the first of its processes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import TextIO

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that may move the cursor or do worse; names of files can hold them."""


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
        line = CONTROLS.sub(lambda found: repr(found[0])[1:-1], line)
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
