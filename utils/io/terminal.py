"""What a run prints: lines to standard output, warnings to standard error, by the first of its processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that may move the cursor or do worse; names of files can hold them."""


def say(lines: Iterable[str]) -> None:
    """Print lines; see `write_lines`."""
    if _speaks_for_all():
        write_lines(lines, sys.stdout)


def warn(lines: Iterable[str]) -> None:
    """Print warnings to standard error, each behind the word `warning`; see `write_lines`."""
    if _speaks_for_all():
        write_lines((f"warning: {line}" for line in lines), sys.stderr)


def _speaks_for_all() -> bool:
    return os.environ.get("RANK", "0") == "0"  # torchrun's: the first process


def write_lines(lines: Iterable[str], stream: TextIO | None) -> None:
    """Print lines as a person at a terminal reads them, whichever process this is.

    Paths below the working directory begin there. A terminal gets lines that are broken between words. Characters that
    the encoding lacks are spelled out. Where nobody reads any more, as behind `| head`, nothing is printed.
    """
    if stream is None:  # it was closed before the program began
        return
    encoding = stream.encoding or "utf-8"
    width = shutil.get_terminal_size().columns if stream.isatty() else 0
    try:
        for line in lines:
            for row in _rows(CONTROLS.sub(lambda found: repr(found[0])[1:-1], as_typed(line)), width):
                print(row.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Lead a stream that takes nothing more, with what waits in it, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):  # it has no file
        os.dup2(null, stream.fileno())
    os.close(null)


SECONDS_IN_LOGS = 10
"""How often a progress bar is renewed where it is no terminal that shows it, but a log that keeps every state."""


def progress_bar(**options: Any) -> tqdm[Any]:
    """Begin a progress bar on standard error; the options are those of tqdm."""
    from tqdm import tqdm

    often = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(dynamic_ncols=True, mininterval=0.1 if often else SECONDS_IN_LOGS, **options)


def as_typed(text: str) -> str:
    """Shorten the absolute paths in a text that lie below the working directory to what one would type there."""
    try:
        here = os.getcwd().rstrip(os.sep) + os.sep
    except OSError:  # it was removed meanwhile
        return text
    return text if here == os.sep else re.sub(rf"(?<![^\s\"'(=:,]){re.escape(here)}(?=[^\s\"'),:;])", "", text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Put a number before a noun: `1 image`, `2 images`, `1,000 boxes` with `boxes` as the plural."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def _rows(text: str, width: int) -> list[str]:
    """Break each line that is wider than the terminal between words; a width of 0 keeps them whole."""
    rows = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        broken = textwrap.wrap(
            line, width or sys.maxsize, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        rows += broken if width and len(line) > width else [line]
    return rows
