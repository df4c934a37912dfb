"""Several problems, one message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utils.errors import UserError

SHOWN = 10


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Refuse to begin if there are problems: name the first ten and say how many more there are.

    Raises:
        UserError: `problems` is not empty.
    """
    if problems:
        raise UserError("\n  ".join([heading, *_first(problems)]))


def refuse_all(heading: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Refuse to begin if there are problems of any kind: name the first ten of each and say how many more there are.

    Args:
        problems: those of a kind, by what the kind is called.

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


def _first(problems: Sequence[str]) -> list[str]:
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return [*problems[:SHOWN], *more]
