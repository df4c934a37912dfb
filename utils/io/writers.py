"""Atomic writes, a bounded pool of writer threads, and output paths that cannot leave their folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from threading import BoundedSemaphore
from types import TracebackType

from utils.errors import RunError, UserError


class WriterError(RunError):
    """An output file could not be written; the message names it and the reason. Scripts print it and exit 3."""

    def __init__(self, path: Path, cause: Exception) -> None:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else f"{type(cause).__name__}: {cause}"
        super().__init__(f"{path}: cannot be written: {reason}")
        self.path = path


def safe_path(root: Path, image_id: str, suffix: str) -> Path:
    """Return the path `<root>/<image_id><suffix>`; UserError if the id is empty or leads out of the folder."""
    relative = PurePath(image_id)
    if not relative.name or relative.anchor or ".." in relative.parts:
        raise UserError(f"image_id {image_id!r}: its output would lie outside {root}")
    return root / f"{image_id}{suffix}"


def temporary_path(path: Path) -> Path:
    """Return the hidden file beside `path` that is written before it is moved there: always the same one, so that the
    next run reuses what a killed one left behind, with a short name, however long that of `path` is.
    """
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, through a temporary file beside it; create its folder.

    Raises:
        WriterError: no space, no permission, a file where a folder must be.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a killed `atomic_link` may have left a link: never write through it
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise WriterError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def atomic_link(path: Path, target: Path, copy: bool = False) -> None:
    """Create an absolute link to the file `target`, or a copy where links fail or if asked; WriterError if both do."""
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        if copy:
            raise ValueError("a copy is asked for")
        temporary.symlink_to(Path(os.path.realpath(target.parent), target.name))
        os.replace(temporary, path)
    except (OSError, ValueError):
        try:
            content = target.read_bytes()
        except OSError as error:
            raise WriterError(path, error) from error
        atomic_write(path, content)


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files below a folder if they exist; WriterError if one cannot be removed."""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriterError(folder / name, error) from error


class Writers:
    """Threads that encode and write files while the run continues; `with Writers() as writers: ...`.

    Few files may wait, so memory does not grow if the disk is slow. The first failure stops the writing and is raised
    by the next call. An exception inside the `with` block (Ctrl-C) drops the waiting files and finishes those that are
    being written.

    Args:
        workers: number of threads; None: one per CPU, at most 16.
    """

    def __init__(self, workers: int | None = None) -> None:
        workers = workers or min(16, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="writer")
        self._capacity = 2 * workers
        self._slots = BoundedSemaphore(self._capacity)
        self._failure: WriterError | None = None
        self._ends = contextlib.ExitStack()

    def submit(self, path: Path, write: Callable[[], None]) -> None:
        """Call `write` in a thread; block while too many files wait.

        Args:
            path: named if `write` fails.

        Raises:
            WriterError: an earlier file could not be written.
        """
        self._slots.acquire()
        self._pool.submit(self._run, path, write)
        self._raise_failure()

    def at_end(self, clear: Callable[[], None]) -> None:
        """Call `clear` when the threads have ended, also after an error: to remove what is half done then."""
        self._ends.callback(clear)

    def flush(self) -> None:
        """Wait until every file submitted so far is written; WriterError if one could not be written."""
        for _ in range(self._capacity):
            self._slots.acquire()
        self._slots.release(self._capacity)
        self._raise_failure()

    def close(self) -> None:
        """Wait for all files and end the threads; WriterError if one could not be written."""
        self._pool.shutdown()
        self._raise_failure()

    def __enter__(self) -> Writers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ends:
            if kind is None:
                self.close()
            else:
                self._pool.shutdown(cancel_futures=True)

    def _run(self, path: Path, write: Callable[[], None]) -> None:
        try:
            if self._failure is None:
                write()
        except WriterError as error:
            self._failure = error
        except Exception as error:
            self._failure = WriterError(path, error)
            self._failure.__cause__ = error
        finally:
            self._slots.release()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
