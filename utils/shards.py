"""Run a part of a run by itself, and merge the parts later: torchrun's exchange between processes, by way of files.

A shard notes what its outputs would tell the other processes at the end. A merge reads the notes of all shards where
the processes would exchange them, so every output that torchrun can share can be merged, to the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from utils.annotations.fingerprint import VERSION, hash_of, run_settings
from utils.cli.options import Options
from utils.cli.outputs import output_folders
from utils.distributed import Session
from utils.engine import RunImages
from utils.errors import SampleError, UserError, first_of
from utils.io.terminal import counted
from utils.io.writers import atomic_write, link_from
from utils.prompts.prompts import Prompts

T = TypeVar("T")

Note = tuple[str, Any]
"""The method that outputs called, and what all processes of the shard gave it."""

SHARDS, NOTES = ".shards", "notes"


@dataclass(frozen=True)
class ShardSession(Session):
    """Exchange between the processes of a shard, and note each result for `MergeSession`.

    None of the processes is the main one to the outputs, so none writes the files that all shards share.

    Attributes:
        processes: those of the shard.
        notes: in the order of the calls.
    """

    processes: Session = field(default_factory=Session)
    notes: list[Note] = field(default_factory=list)

    @classmethod
    def of(cls, processes: Session) -> ShardSession:
        """Make the session of this process of a shard, without notes yet."""
        return cls(processes.rank, processes.world_size, processes.local_rank, processes)

    @property
    def is_main(self) -> bool:
        """Return False: the merge writes what all shards share."""
        return False

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum over the processes of the shard."""
        return self._noted("sum", self.processes.sum(array))

    def gather(self, part: Sequence[T]) -> list[T]:
        """Concatenate over the processes of the shard."""
        return self._noted("gather", self.processes.gather(part))

    def barrier(self) -> None:
        """Wait for the processes of the shard."""
        self.processes.barrier()

    def _noted(self, method: str, value: T) -> T:
        self.notes.append((method, value))
        return value


@dataclass(frozen=True)
class MergeSession(Session):
    """Stand for the processes of all shards: answer each call by their notes, whatever the merge itself passes.

    Outputs make the same calls in the same order in every run, so the n-th call finds the n-th note of each shard.

    Attributes:
        shards: the notes of each shard.
        calls: counts them.
    """

    shards: Sequence[Sequence[Note]] = ()
    calls: Iterator[int] = field(default_factory=count)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum over all shards."""
        return np.sum(self._next("sum"), axis=0, dtype=array.dtype)

    def gather(self, part: Sequence[T]) -> list[T]:
        """Concatenate over all shards, in their order."""
        return [entry for part in self._next("gather") for entry in part]

    def barrier(self) -> None:
        """Wait for nobody."""

    def _next(self, method: str) -> list[Any]:
        position = next(self.calls)
        found = [notes[position] if position < len(notes) else ("", None) for notes in self.shards]
        if any(noted != method for noted, _ in found):
            raise UserError("--merge: the shards were run by another version of this program; run them again")
        return [value for _, value in found]


class Shards:
    """Keep the notes of the shards of a run in the folder of its first output, until they are merged.

    Args:
        options: of the run; the shards of a run and its merge differ in nothing that changes a result.
        images: all images of the run.
        prompts: the boxes of a prompt file, or None.

    Attributes:
        key: the config key of that folder.
    """

    def __init__(self, options: Options, images: RunImages, prompts: Prompts | None) -> None:
        self._options, self._ids, self._units = options, images.ids, images.units
        self.key, folder = next(iter(output_folders(options).items()))
        self._folder = folder / SHARDS
        boxes = b"" if prompts is None else b"".join(map(prompts.content, images.ids))
        ids = "\0".join(images.ids).encode("utf-8", "surrogateescape")
        self._run = {**_settings(options), "boxes": hash_of(boxes), "images": hash_of(ids)}

    @property
    def own_folder(self) -> Path:
        """Return where the notes of this shard lie."""
        assert self._options.shard is not None
        number, count = self._options.shard
        return self._folder / f"{number}-of-{count}"

    def begin(self) -> None:
        """Forget what an earlier run of this shard noted; UserError if that lies behind a link."""
        if aim := link_from(self.own_folder, self._folder.parent):
            raise UserError(f"{self.own_folder}: {aim}; nothing is written through a link, put a folder in its place")
        (self.own_folder / NOTES).unlink(missing_ok=True)

    def save(self, notes: Sequence[Note], device: str) -> None:
        """Keep the notes of this shard, which has ended; WriterError if that fails."""
        atomic_write(self.own_folder / NOTES, pickle.dumps({"run": self._run, "device": device, "notes": notes}))

    def next_step(self) -> str:
        """Say that this shard has ended, and what is to be run next."""
        assert self._options.shard is not None
        number, count = self._options.shard
        done = sum(name.endswith(f"-of-{count}") for name in self._there())
        command = re.sub(r"--shard[= ]\S+", "--merge", self._options.command)
        rest = f"next: {command}" if done == count else "when all have, --merge in place of --shard completes the run"
        return f"shard {number} of {count}: ended, as have {done} of {count}; {rest}"

    def read(self, unfinished: Sequence[int]) -> tuple[MergeSession, str]:
        """Read the notes of all shards.

        Args:
            unfinished: the positions of images that are to have annotations and have none that is up to date.

        Returns:
            what stands for the processes of the run, and what the models ran on.

        Raises:
            UserError: there are no shards, some are missing or are of another run, or images are not finished though no
                shard says that they could not be used.
        """
        counts = [int(found[1]) for found in map(re.compile(r"\d+-of-(\d+)").fullmatch, self._there()) if found]
        if not counts:
            advice = "they are merged already, or have not run: --shard 1/4 and so on"
            raise UserError(f"--merge: {self._folder} has no shards; {advice}")
        complete = [n for n in counts if all(f"{i}-of-{n}" in self._there() for i in range(1, n + 1))]
        count = max(complete or counts)
        missing = [f"{i}/{count}" for i in range(1, count + 1) if f"{i}-of-{count}" not in self._there()]
        if missing:
            raise UserError(f"--merge: not all shards have ended; run these first: --shard {first_of(missing)}")
        read = [self._read(i, count) for i in range(1, count + 1)]
        failed = {
            entry.image_id
            for each in read
            for method, value in each["notes"]
            for entry in (value if method == "gather" else ())
            if isinstance(entry, SampleError)
        }
        self._check_finished(unfinished, failed, count)
        return MergeSession(shards=[each["notes"] for each in read]), read[0]["device"]

    def remove(self) -> None:
        """Remove the notes of all shards, which are merged."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _there(self) -> list[str]:
        return [path.parent.name for path in self._folder.glob(f"*/{NOTES}") if os.path.isfile(path)]

    def _read(self, number: int, count: int) -> dict[str, Any]:
        path, again = self._folder / f"{number}-of-{count}" / NOTES, f"run --shard {number}/{count} again"
        try:
            found: dict[str, Any] = _Unpickler(io.BytesIO(path.read_bytes())).load()
            theirs = found["run"]
        except Exception as error:  # a damaged file raises almost anything
            raise UserError(f"{path}: cannot be read; {again}") from error
        if others := [name for name, value in self._run.items() if theirs.get(name) != value]:
            differs = f"--merge: shard {number}/{count} was run with other values of {first_of(others)}"
            raise UserError(f"{differs}; merge with the options of the shards, or {again}")
        return found

    def _check_finished(self, unfinished: Sequence[int], failed: set[str], count: int) -> None:
        """Raise UserError where images have no annotation, though no shard says why."""
        left = [position for position in unfinished if self._ids[position] not in failed]
        if left:
            starts = [unit.start for unit in self._units]
            numbers = sorted({(bisect_right(starts, position) - 1) % count + 1 for position in left})
            again = first_of([f"{number}/{count}" for number in numbers])
            which = (
                f"{counted(len(left), 'image')} without an annotation that is up to date, such as {self._ids[left[0]]}"
            )
            raise UserError(f"--merge: {which}; run these shards again: --shard {again}")


def _settings(options: Options) -> dict[str, str]:
    """Write all settings that decide the result of a run as JSON, by their config keys, options or other names."""
    config = options.config
    sections = ("dataset", "evaluator", "predictor", "auto_mask")
    settings: dict[str, Any] = {
        f"{section}.{key}": value for section in sections for key, value in asdict(getattr(config, section)).items()
    }
    settings |= {
        "the program": VERSION,
        "dataloader.batch_size": config.dataloader.batch_size,
        "--also": options.outputs,
        "--video": options.video,
        "--boxes": options.boxes,
        "--attribute": options.attribute,
        "--diff": options.diff,
        "--annotations": options.annotations,
        "--tune": options.dataset_before_tuning,
    }
    for name, value in run_settings(options).items():
        inner = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        settings |= {} if f"dataset.{name}" in settings else inner
    return {name: json.dumps(value, default=str) for name, value in settings.items()}


class _Unpickler(pickle.Unpickler):
    """Read notes and nothing that could run code: plain data of this program, of numpy and of the standard library."""

    _OTHERS: ClassVar = {
        *(("builtins", name) for name in ("set", "frozenset", "range", "slice", "complex", "bytearray")),
        *(("collections", name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
        *((package, name) for package in ("numpy", "numpy.dtypes") for name in ("ndarray", "dtype")),
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
        *((f"pathlib{own}", f"{kind}Path") for own in ("", "._local") for kind in ("Posix", "Windows", "PurePosix")),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return a class by its name; UnpicklingError if it is none that notes hold."""
        found = super().find_class(module, name) if module.startswith("utils.") else None
        is_data = isinstance(found, type) and (is_dataclass(found) or issubclass(found, (tuple, Enum, SampleError)))
        if is_data or (module, name) in self._OTHERS:
            return found or super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")
