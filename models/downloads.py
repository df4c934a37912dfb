"""Official weight files: fetched with resuming and retries, and put in place only when they are what was published."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from models.checkpoints import damage_of
from utils.classes import nearest
from utils.config import official
from utils.distributed import Session
from utils.errors import UserError, first_line
from utils.io.terminal import progress_bar, write_lines

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIES = 5
STALL = 30.0
"""Seconds without a byte, or with fewer than SLOWEST a second on average, after which a connection is given up."""
SLOWEST = 1024
PAUSE = 1.0
"""Seconds before the second try; each further pause is twice as long."""
CHUNK = 2**20


class _Final(Exception):  # noqa: N818
    """Report a download that cannot succeed, however often it is tried."""


def ensure_weights(path: Path, *, download: bool = True) -> None:
    """Download a missing official weight file, showing progress; what is no whole official file never takes its name.

    Args:
        download: False checks only whether the file exists or could be downloaded.

    Raises:
        UserError: the file is missing, and not official or cannot be downloaded.
    """
    if path.is_file() or (path.is_dir() and path.name.endswith("_openvino_model")):
        return
    if path.exists():
        raise UserError(f"{path}: not a regular file")
    address = official.address_of(path.name)
    if address is None:
        names = (*official.OFFICIAL_YOLO, *official.OFFICIAL_SAM)
        close = nearest(path.name, names, 0.65)  # all end in `.pt`, so all are somewhat similar
        hint = (
            f"did you mean {close}?"
            if close
            else f"only official ones are downloaded, such as {', '.join(names[::16])}"
        )
        raise UserError(f"{path}: no such weight file; {hint}")
    if not download:
        return
    # Not `say`: any process of a machine may be the one that downloads.
    write_lines([f"{path.name} is missing; downloading {address} to {path.parent}"], sys.stdout)
    part = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part):
            if not path.is_file():
                _download(address, part, official.SHA256.get(official.published_name(path.name)))
                os.replace(part, path)
    except (OSError, _Final) as error:
        kept = f"; {part.name} is kept, and the next run goes on from it" if part.is_file() else ""
        raise UserError(
            f"{path}: missing, and cannot be downloaded: {_reason(error)}; put a copy of {address} there{kept}"
        ) from error


def fetch_weights(paths: Iterable[Path], session: Session, *, download: bool = True) -> None:
    """`ensure_weights` of each path, by one process of each machine; wrong names are found before any download."""
    if session.local_rank == 0:
        paths = [*paths]
        for path in paths:
            ensure_weights(path, download=False)
        for path in paths:
            ensure_weights(path, download=download)
    session.barrier()


def _download(address: str, part: Path, digest: str | None) -> None:
    """Fetch a file, going on from what is already there.

    Raises:
        OSError: the connection failed too often.
        _Final: what the server has is not the file.
    """
    resumed = part.is_file() and part.stat().st_size > 0
    pause, failed = PAUSE, 0
    while True:
        try:
            _fetch_rest(address, part)
        except (OSError, HTTPException) as error:
            failed += 1
            if failed == TRIES or _is_final(error):
                raise error if isinstance(error, OSError) else OSError(first_line(error)) from error
            time.sleep(pause)
            pause *= 2
            continue
        problem = _problem(part, digest)
        if problem is None:
            return
        part.unlink()
        if not resumed:
            raise _Final(f"the server sent {problem}")
        resumed = False  # what an earlier run left may be of another file: once more, from the start


def _fetch_rest(address: str, part: Path) -> None:
    """Append what is missing to a partial file; OSError if the connection fails, which keeps what came."""
    start = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "yolo-sam2", "Accept-Encoding": "identity"} | (
        {"Range": f"bytes={start}-"} if start else {}
    )
    try:
        response = urlopen(Request(address, headers=headers), timeout=STALL)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        whole = error.headers.get("Content-Range", f"bytes */{start}")
        if whole != f"bytes */{start}":  # what is there is longer than the file, so of another one
            part.unlink()
            raise ConnectionError("what an earlier run left is of another file") from error
        return
    with response:
        resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if "html" in response.headers.get("Content-Type", ""):
            raise _Final("the server sent a web page, a login page perhaps, instead of the file")
        begin = start if resumes else 0
        length = response.headers.get("Content-Length")
        total = begin + int(length) if length and length.isdecimal() else None
        with (
            part.open("ab" if resumes else "wb") as file,
            progress_bar(total=total, initial=begin, unit="B", unit_scale=True) as bar,
        ):
            for block in _blocks(response):
                if file.tell() == 0 and block.lstrip()[:1] == b"<":
                    raise _Final("the server sent a web page, a login page perhaps, instead of the file")
                file.write(block)
                bar.update(len(block))
            arrived = file.tell()
    if total is not None and arrived < total:
        raise ConnectionError(f"the download was cut off after {arrived} of {total} bytes")


def _blocks(response: Any) -> Iterator[bytes]:
    """Yield what arrives; TimeoutError if next to nothing does."""
    since, arrived = time.monotonic(), 0
    while block := response.read1(CHUNK):
        yield block
        arrived += len(block)
        if (waited := time.monotonic() - since) > STALL:
            if arrived < SLOWEST * waited:
                raise TimeoutError("the download has stalled")
            since, arrived = time.monotonic(), 0


def _problem(part: Path, digest: str | None) -> str | None:
    """Say what a complete download is instead of the official file; return None if it is that file."""
    if digest is None:
        return None if (damage := damage_of(part)) is None else f"a damaged file: {damage}"
    hashed = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(CHUNK):
            hashed.update(block)
    return None if hashed.hexdigest() == digest else f"another file than was published: SHA-256 {hashed.hexdigest()}"


def _is_final(error: BaseException) -> bool:
    """Return whether trying again is pointless: no server answers, it lacks the file, or the disk is full."""
    if isinstance(error, HTTPError):
        return error.code < 500 and error.code not in (408, 425, 429)
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, (ConnectionRefusedError, socket.gaierror)):
        return True
    return not isinstance(error, (URLError, ConnectionError, TimeoutError, HTTPException))


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"nothing came for {STALL:.0f} s"
    return first_line(error)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file, made if it is missing, for this process; others of this machine wait, but not on Windows."""
    with path.open("ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Hold the partial file for this process; another run that wants the same file waits for it."""
    try:
        with held(part):
            yield
    finally:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
