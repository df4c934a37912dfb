"""How the command line is read: it refuses by a UserError, spells long options two ways, and may set config keys."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from utils.config import Override
from utils.errors import UserError

_EPILOG = """\
Any config key can be overridden:  --set detector.imgsz=1280 --set 'dataset.classes=["cat", "dog"]'

Paths given here start at the working directory, those inside a config file at that file's folder; an official weight
name without a folder (yolov8x.pt, sam2.1_hiera_tiny.pt) means its home under yolo/yolov8/ or sam/sam2.1/. Long options
may be written with - or _ between their words.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses by a UserError and takes `-` for `_` in the names of long options."""

    def __init__(self, description: str | None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, epilog=_EPILOG, formatter_class=layout, allow_abbrev=False)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As the base class does; `parse_args` goes through here."""
        arguments = sys.argv[1:] if args is None else args
        return super().parse_known_args([_underscored(argument) for argument in arguments], namespace)

    def error(self, message: str) -> NoReturn:
        """Refuses the command line."""
        raise UserError(f"{message} (--help lists the options)")


def _underscored(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument[2:].partition("=")
    return "--" + option.replace("-", "_") + equals + value


class Overriding(argparse.Action):
    """An option whose value overrides a config key: always the same one, or the one that `key=value` names."""

    def __init__(self, option_strings: Sequence[str], dest: str, key: str | None = None, **rest: Any) -> None:
        super().__init__(option_strings, "overrides", default=(), **rest)
        self.key = key

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Adds the override; argparse calls this where the option stands."""
        namespace.overrides = (*namespace.overrides, self._override(values))

    def _override(self, values: Any) -> Override:
        if self.key is None:
            return Override.parse(values)
        option = "/".join(self.option_strings)
        several = isinstance(values, list)  # with nargs
        return Override(self.key, values, option) if several else Override.from_text(self.key, values, option)
