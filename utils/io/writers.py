"""Atomic writes, a bounded pool of writer threads, and output paths that cannot leave their folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path, PurePath
from threading import BoundedSemaphore
from types import TracebackType

from utils.cores import usable_cores
from utils.errors import RunError, UserError
from utils.io.json_files import path_problem

try:
    import fcntl
except ImportError:  # not on Windows, where runs are not kept apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file in a folder of outputs that a run has locked while it writes there."""


class WriterError(RunError):
    """An output file could not be written; the message names it and the reason. Scripts print it and exit 3."""

    def __init__(self, path: Path, cause: Exception) -> None:
        causes = [cause, cause.__cause__, cause.__context__]  # libraries hide a full disk in errors of their own
        reasons = [each.strerror for each in causes if isinstance(each, OSError) and each.strerror]
        reason = next(iter(reasons), f"{type(cause).__name__}: {cause}")
        super().__init__(f"{path}: cannot be written: {reason}")
        self.path = path


def link_from(folder: Path, root: Path) -> str | None:
    """Say where a folder at or below `root` really is, if a link on the way leads elsewhere; else None."""
    plain, real = Path(os.path.realpath(root), os.path.relpath(folder, root)), os.path.realpath(folder)
    return None if real == str(plain) else f"leads to {real}"


def is_inside(root: Path, name: str) -> bool:
    """Tell whether a path that stands in a file of anybody's names a file below `root` without a link on the way."""
    relative = PurePath(name)
    if path_problem(name) or not relative.name or relative.anchor or ".." in relative.parts:
        return False
    return link_from((root / relative).parent, root) is None


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


def _lock_file(path: Path, *, shared: bool = False) -> int | None:
    """Open a plain file, made if it is missing, for this process alone, until the handle is closed or the process ends.

    Args:
        shared: others that share it may have it, too.

    Returns:
        the handle; None where the disk has no locks, or the file is not to be written through.

    Raises:
        BlockingIOError: another process has it.
    """
    if fcntl is None:
        return None
    handle = None
    try:
        if path.is_symlink():
            path.unlink()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # the disk has no locks, so nobody writes there
            path.unlink()
        found = os.fstat(handle)
        # Its last owner may have moved or removed it since it was opened; other names of it may lie anywhere.
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and os.path.samestat(found, os.lstat(path)):
            handle, kept = None, handle
            return kept
    except BlockingIOError:
        raise
    except OSError:  # writing will tell
        pass
    finally:
        if handle is not None:
            os.close(handle)
    return None


class Temporary:
    """A hidden file beside another one, which no other process writes to, until it is complete and takes its place.

    It is `temporary_path`; where another run writes to that, or the disk has no locks, a file with a name of its own.

    Args:
        target: the file whose place it takes; its folder is made.

    Attributes:
        path: where to write.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, target: Path) -> None:
        self.path, self._target, self._lock, self._done = temporary_path(target), target, None, False
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(BlockingIOError):
            self._lock = _lock_file(self.path)
        if self._lock is None:
            self.path = self.path.with_suffix(f".{secrets.token_hex(4)}.tmp")

    def complete(self) -> None:
        """Move it to its place; OSError if that fails."""
        os.replace(self.path, self._target)
        self._unlock()

    def discard(self) -> None:
        """Remove it, unless it was complete."""
        if not self._done:
            try:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            finally:
                self._unlock()

    def _unlock(self) -> None:
        self._done = True
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def locked_folder(folder: Path, key: str, *, shared: bool = False) -> Iterator[None]:
    """Keep a folder of outputs to this run. A killed run leaves nothing locked; disks without locks lock nothing.

    Args:
        folder: made if it is missing, and removed again if it stays empty.
        key: the config key that names another folder.
        shared: other runs that share it may write there, too.

    Raises:
        UserError: another run writes there.
        RunError: at the end, somebody removed the folder meanwhile.
    """
    refusal = f"{folder}: another run writes there; wait until it ends, or name another folder by {key}"
    with _held(folder / LOCK, refusal, shared=shared) as lock:
        yield
        if lock is not None and not _is_at(lock, folder / LOCK):
            advice = "run again: what is missing is written then"
            raise RunError(f"{folder}: was removed while the run wrote there; {advice}")


@contextlib.contextmanager
def locked_file(path: Path, key: str) -> Iterator[None]:
    """Keep a file, and those of its stem beside it, to this run, as `locked_folder` does with folders."""
    advice = f"wait until it ends, or name another file by {key}"
    with _held(path.with_name(f".{path.stem}{LOCK}"), f"{path}: another run writes it; {advice}"):
        yield


@contextlib.contextmanager
def _held(path: Path, refusal: str, *, shared: bool = False) -> Iterator[int | None]:
    """Hold the lock of a file in a folder, which is made if it is missing; UserError if another process has it."""
    folder, handle = path.parent, None
    made = [*takewhile(lambda each: not os.path.lexists(each), (folder, *folder.parents))]
    with contextlib.suppress(OSError):  # writing will tell
        folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = _lock_file(path, shared=shared)
    except BlockingIOError:
        raise UserError(refusal) from None
    try:
        yield handle
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                if shared:  # only the last one may remove it
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(handle, path):
                    path.unlink()
            os.close(handle)
        with contextlib.suppress(OSError):  # not empty, as a rule
            for each in made:
                each.rmdir()


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is still to be found at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, through a temporary file beside it; create its folder.

    Raises:
        WriterError: no space, no permission, a file where a folder must be.
    """
    try:
        temporary = Temporary(path)
        try:
            temporary.path.write_bytes(data)
            temporary.complete()
        except BaseException:
            temporary.discard()
            raise
    except OSError as error:
        raise WriterError(path, error) from error


def atomic_link(path: Path, target: Path, copy: bool = False) -> None:
    """Create an absolute link to the file `target`, or a copy where links fail or if asked; WriterError if both do."""
    temporary = temporary_path(path).with_suffix(".link.tmp")
    try:
        if copy:
            raise ValueError("a copy is asked for")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another run makes the same one: whose is moved does not matter
            temporary.symlink_to(Path(os.path.realpath(target.parent), target.name))
        os.replace(temporary, path)
    except (OSError, ValueError) as failure:
        if isinstance(failure, FileNotFoundError) and path.is_symlink():  # moved by the other run
            return
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
        workers: number of threads; None: one per core that this process may use, at most 16.
    """

    def __init__(self, workers: int | None = None) -> None:
        workers = workers or min(16, usable_cores())
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

    def __enter__(self) -> Writers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ends:
            if kind is None:
                self._pool.shutdown()
                self._raise_failure()
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
