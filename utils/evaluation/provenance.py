"""What tells one evaluation from another: how it was asked for, with which files, by what, when and on what."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from utils.annotations.fingerprint import file_hash
from utils.cli.options import Options
from utils.cli.versions import versions


class Provenance:
    """Describe a run, for `metrics.json` and the foot of the report.

    Weight files are hashed in a thread while the run goes on; it takes a second a gigabyte.

    Args:
        options: of the run, which begins now.
        device: tells the device and the precision; asked at the end, when the models are loaded.
        processes: how many the run has.
    """

    def __init__(self, options: Options, device: Callable[[], str], processes: int = 1) -> None:
        self._options, self._device, self._processes = options, device, processes
        self._date, self._start = datetime.now().astimezone(), time.monotonic()
        hasher = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._files = {name: (path, hasher.submit(file_hash, path)) for name, path in options.model_files.items()}
        self._prompt = None if options.prompt is None else (options.prompt, hasher.submit(file_hash, options.prompt))
        hasher.shutdown(wait=False)

    def describe(self) -> dict[str, Any]:
        """Return all of it as JSON's types; waits for the hashes."""
        options, dataset = self._options, self._options.config.dataset

        def hashed(entry: Any) -> dict[str, Any] | None:
            return None if entry is None else {"path": str(entry[0]), "sha256": entry[1].result()}

        return {
            "command": options.command,
            "folder": str(Path.cwd()),
            "date": self._date.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._start, 1),
            "data": {"data_dir": str(dataset.data_dir), "split": dataset.split},
            "boxes": options.boxes,
            "prompt_file": hashed(self._prompt),
            "annotations": options.annotations and str(options.annotations),
            "weights": {name: hashed(entry) for name, entry in self._files.items()},
            "device": self._device(),
            "processes": self._processes,
            "versions": versions(),
            "config": json.loads(json.dumps(asdict(options.config), default=str)),
        }


def shown(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of a description, as the foot of the report lists them; the config is not among them."""
    files = {"boxes": run["prompt_file"], **run["weights"]}
    hashes = [(name, f"{file['path']}, SHA-256 {file['sha256']}") for name, file in files.items() if file]
    return [
        ("Command", run["command"]),
        ("Date", f"{run['date'].replace('T', ' ')}, {run['seconds']} seconds"),
        ("Data", f"{run['data']['data_dir']}, split {run['data']['split']}"),
        *([("Annotations", run["annotations"])] if run["annotations"] else []),
        *((f"{name[0].upper()}{name[1:]}", text) for name, text in hashes),
        ("Device", f"{run['device']}, processes: {run['processes']}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in run["versions"].items())),
    ]
