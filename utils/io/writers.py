"""Whole files or none: atomic writes, a bounded pool of writer threads, output paths that stay in their folder."""

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
    """An output file could not be made; the message names it and the reason. Scripts print it and exit 3."""

    def __init__(self, path: Path, cause: Exception) -> None:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else f"{type(cause).__name__}: {cause}"
        super().__init__(f"{path}: cannot be written: {reason}")
        self.path = path


def safe_path(root: Path, image_id: str, suffix: str) -> Path:
    """The output file of an image, `<root>/<image_id><suffix>`.

    Raises:
        UserError: the id is empty, absolute, or climbs out of the folder.
    """
    relative = PurePath(image_id)
    if not relative.name or relative.anchor or ".." in relative.parts:
        raise UserError(f"image_id {image_id!r}: its output would lie outside {root}")
    return root / f"{image_id}{suffix}"


def temporary_of(path: Path) -> Path:
    """The hidden file beside `path` in which its content grows: always the same, and short however long the name is."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made.

    The data go to a temporary file beside it, which is then moved into place, or removed if that fails. The next run
    takes up what a killed one left behind.

    Raises:
        WriterError: no space, no permission, a file where a folder must be.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # it may be a link that `atomic_link` left: never write through it
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise WriterError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def atomic_link(path: Path, target: Path) -> None:
    """Have `path` lead to the file `target`: by a relative link, or by a copy where links cannot be made.

    Raises:
        WriterError: neither is possible.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(os.path.realpath(target), os.path.realpath(path.parent)))
        os.replace(temporary, path)
    except (OSError, ValueError):
        try:
            content = target.read_bytes()
        except OSError as error:
            raise WriterError(path, error) from error
        atomic_write(path, content)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Removes files below a folder; WriterError if one is there and cannot go."""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriterError(folder / name, error) from error


class Writers:
    """Threads that encode and write files while the run goes on; `with Writers() as writers: ...`.

    Few files may wait, so memory stays flat however slow the disk is. The first failure stops the writing and is
    raised by the next call. An exception inside the `with` block (Ctrl-C) drops the files that wait and finishes those
    under way.

    Args:
        workers: number of threads; None: one for each CPU, at most 16.
    """

    def __init__(self, workers: int | None = None) -> None:
        workers = workers or min(16, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="writer")
        self._capacity = 2 * workers
        self._slots = BoundedSemaphore(self._capacity)
        self._failure: WriterError | None = None
        self._ends = contextlib.ExitStack()

    def submit(self, path: Path, write: Callable[[], None]) -> None:
        """Have `write` called by a thread, a failure blamed on `path`; blocks while too many files wait.

        Raises:
            WriterError: an earlier file could not be made.
        """
        self._slots.acquire()
        self._pool.submit(self._run, path, write)
        self._raise_failure()

    def at_end(self, clear: Callable[[], None]) -> None:
        """Have `clear` called when the threads have ended, however they end: for what a broken run leaves half done."""
        self._ends.callback(clear)

    def flush(self) -> None:
        """Wait until every file submitted so far is written.

        Raises:
            WriterError: one could not be made.
        """
        for _ in range(self._capacity):
            self._slots.acquire()
        self._slots.release(self._capacity)
        self._raise_failure()

    def close(self) -> None:
        """`flush`, and end the threads.

        Raises:
            WriterError: a file could not be made.
        """
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
