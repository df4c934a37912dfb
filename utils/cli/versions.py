"""Find the versions of all that decides results: `--version` prints them, an evaluation keeps them."""

from __future__ import annotations

import argparse
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from utils.config.official import REPOSITORY
from utils.io.terminal import say

PACKAGES = ("torch", "torchvision", "ultralytics", "SAM-2", "sam2", "numpy", "opencv-python", "opencv-python-headless")
"""Distributions that decide results; those that are not installed are left out."""


def versions() -> dict[str, str]:
    """Return the versions of Python, the system, the packages and, in a clone of the repository, its commit."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if (REPOSITORY / ".git").exists():
        ask = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(ask, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.SubprocessError):
            return found
        found |= {"commit": done.stdout.strip()} if done.returncode == 0 else {}
    return found


class VersionAction(argparse.Action):
    """Print the versions and end the program, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> NoReturn:
        """Print; argparse calls this when it meets the option."""
        say(f"{name} {number}" for name, number in versions().items())
        parser.exit()
