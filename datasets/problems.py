"""Several problems, one message."""

from __future__ import annotations

from collections.abc import Sequence

from utils.errors import UserError

SHOWN = 10


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Refuse to begin if there are problems: name the first ten and say how many more there are.

    Raises:
        UserError: `problems` is not empty.
    """
    if not problems:
        return
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    raise UserError("\n  ".join([heading, *problems[:SHOWN], *more]))
