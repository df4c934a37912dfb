from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.io.writers import Temporary, WriterError, Writers, atomic_write, locked_file, safe_path, temporary_path

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("image_id", ["a", "clip/000001", "a.b", "2:30", "ä/汽车", "..a", "a.."])
def test_an_output_keeps_its_id_and_its_folder(tmp_path: Path, image_id: str) -> None:
    path = safe_path(tmp_path, image_id, ".json")
    assert str(path) == f"{tmp_path}/{image_id}.json"
    assert tmp_path in Path(os.path.realpath(path)).parents


@pytest.mark.parametrize("image_id", ["../x", "../../x", "a/../../x", "/etc/x", "..", "a/..", "", ".", "/"])
def test_an_id_that_leaves_the_folder_is_refused(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(UserError, match="image_id"):
        safe_path(tmp_path, image_id, ".json")


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    atomic_write(path, b"first")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert [file.name for file in path.parent.iterdir()] == ["c.json"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_that_a_killed_run_left_is_not_written_through(tmp_path: Path) -> None:
    photo, path = tmp_path / "photo.jpg", tmp_path / "out.jpg"
    photo.write_bytes(b"photo")
    temporary_path(tmp_path / "out.jpg").symlink_to(photo)
    atomic_write(path, b"written")
    assert photo.read_bytes() == b"photo"
    assert path.read_bytes() == b"written"
    assert not path.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="locks files")
def test_while_another_run_writes_a_file_its_temporary_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    other = Temporary(path)
    other.path.write_bytes(b"half")
    atomic_write(path, b"whole")
    assert path.read_bytes() == b"whole"
    with other.path.open("ab") as file:
        file.write(b" and half")
    assert path.read_bytes() == b"whole"
    other.complete()
    assert path.read_bytes() == b"half and half"
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


WRITING = """
import sys; from pathlib import Path; from utils.io.writers import atomic_write
for i in range(400):
    atomic_write(Path(sys.argv[1]), sys.argv[2].encode() * 200_000)
"""


@pytest.mark.slow
def test_two_processes_that_write_one_file_never_show_a_half_of_it(tmp_path: Path) -> None:
    path, seen = tmp_path / "out.bin", set()
    processes = [subprocess.Popen([sys.executable, "-c", WRITING, path, letter], cwd=ROOT) for letter in "ab"]
    while any(process.poll() is None for process in processes):
        if path.exists():
            content = path.read_bytes()
            seen.add((len(content), content[:1] * len(content) == content))
    assert [process.returncode for process in processes] == [0, 0]
    assert seen == {(200_000, True)}
    assert [file.name for file in tmp_path.iterdir()] == ["out.bin"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_another_name_of_a_file_elsewhere_is_not_written_through(tmp_path: Path) -> None:
    photo, path = tmp_path / "photo.jpg", tmp_path / "out.jpg"
    photo.write_bytes(b"photo")
    os.link(photo, temporary_path(path))
    atomic_write(path, b"written")
    assert (photo.read_bytes(), path.read_bytes()) == (b"photo", b"written")


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    atomic_write(tmp_path / ("é" * 125 + ".json"), b"whole")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "a.json"
    atomic_write(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(WriterError, match=r"a\.json: cannot be written: File too large"):
            atomic_write(path, bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_must_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(WriterError, match=r"a.b\.json: cannot be written: (File exists|Not a directory)"):
        atomic_write(tmp_path / "a" / "b.json", b"")


def put(writers: Writers, path: Path, encode: Callable[[], bytes]) -> None:
    writers.submit(path, lambda: atomic_write(path, encode()))


def test_every_file_is_written(tmp_path: Path) -> None:
    with Writers(3) as writers:
        for i in range(50):
            put(writers, tmp_path / f"{i % 5}" / f"{i}.txt", str(i).encode)
    assert {file.name: file.read_text() for file in tmp_path.rglob("*.txt")} == {f"{i}.txt": str(i) for i in range(50)}


def slowly() -> bytes:
    time.sleep(0.02)
    return b"x"


def test_flush_waits_for_what_was_submitted(tmp_path: Path) -> None:
    with Writers(2) as writers:
        for i in range(6):
            put(writers, tmp_path / str(i), slowly)
        writers.flush()
        assert len(list(tmp_path.iterdir())) == 6
        put(writers, tmp_path / "later", lambda: b"x")
    assert (tmp_path / "later").exists()


def test_few_files_wait_however_slow_the_disk(tmp_path: Path) -> None:
    done, most_waiting = [], 0

    def slow() -> bytes:
        time.sleep(0.005)
        done.append(1)
        return b""

    with Writers(2) as writers:
        for i in range(40):
            put(writers, tmp_path / str(i), slow)
            most_waiting = max(most_waiting, i + 1 - len(done))
    assert most_waiting <= 5


def test_the_first_failure_stops_the_run_and_names_the_file(tmp_path: Path) -> None:
    def fails() -> bytes:
        raise ValueError("no such colour")

    def run() -> None:
        with Writers(1) as writers:
            put(writers, tmp_path / "bad.png", fails)
            for i in range(1000):
                put(writers, tmp_path / str(i), lambda: b"")
            pytest.fail("the run went on")

    with pytest.raises(WriterError, match=r"bad\.png: cannot be written: ValueError: no such colour"):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_the_last_file_is_raised_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    writers = Writers()
    with pytest.raises(WriterError, match=r"a.b"), writers:
        put(writers, tmp_path / "a" / "b", slowly)


def test_an_interrupted_run_finishes_what_is_under_way_and_drops_the_rest(tmp_path: Path) -> None:
    begun = threading.Event()

    def slow() -> bytes:
        begun.set()
        time.sleep(0.1)
        return b"whole"

    def run() -> None:
        with Writers(1) as writers:
            put(writers, tmp_path / "under way", slow)
            put(writers, tmp_path / "waiting", slow)
            begun.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("under way", b"whole")]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_no_file_is_torn_when_the_process_ends(tmp_path: Path, end: str) -> None:
    """Each of four files is rewritten over and over, each time with a single letter 300,000 times."""
    script = (
        "import itertools, signal, sys; from pathlib import Path; from utils.io.writers import Writers, atomic_write\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Writers(2) as writers:\n"
        "    for i in itertools.count():\n"
        "        path = Path(sys.argv[1], str(i % 4))\n"
        "        content = bytes([65 + i // 4 % 26]) * 300_000\n"
        "        writers.submit(path, lambda path=path, content=content: atomic_write(path, content))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "3").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(getattr(signal, end))
    process.wait(timeout=20)
    for name in "0123":
        contents = (tmp_path / name).read_bytes()
        assert len(contents) == 300_000
        assert len(set(contents)) == 1
    if end == "SIGINT":
        assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(os.name != "posix", reason="locks files")
def test_a_file_has_one_run_at_a_time_and_a_killed_one_leaves_nothing_locked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "finetuned.pt"
    script = (
        "import sys, time; from pathlib import Path; from utils.io.writers import locked_file\n"
        "with locked_file(Path(sys.argv[1]), 'finetune.output'): print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match="another run writes it; wait until it ends, or name another file by finetune"):
        locked_file(path, "finetune.output").__enter__()
    with locked_file(path.with_name("other.pt"), "finetune.output"):
        pass
    other.kill()
    other.wait()
    with locked_file(path, "finetune.output"):
        pass
    assert [*path.parent.iterdir()] == []
