"""What a run prints, as a person at a terminal reads it."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest

from utils.io.terminal import as_typed, counted, progress_bar, say, warn, write_lines


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_paths_are_printed_as_one_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_typed(f"report: {tmp_path}/out/report.html") == "report: out/report.html"
    assert as_typed(f"-c={tmp_path}/a.json ({tmp_path}/b): '{tmp_path}/c d'") == "-c=a.json (b): 'c d'"
    for other in (f"in {tmp_path}", f"/mnt{tmp_path}/x", f"{tmp_path}2/x", f"{tmp_path}/", "/elsewhere/x"):
        assert as_typed(other) == other
    monkeypatch.chdir("/")
    assert as_typed("/a/b") == "/a/b"


def test_a_terminal_gets_lines_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = "  failed: a-long-name/with-hyphens.jpg: " + "overlong sentences " * 9 + "end\n| a table |"
    terminal, file = Terminal(), io.StringIO()
    write_lines([text], terminal)
    write_lines([text], file)
    rows = terminal.getvalue().splitlines()
    assert max(map(len, rows)) <= 80 and len(rows) == 4
    assert " ".join(terminal.getvalue().split()) == " ".join(text.split())
    assert {row.split()[-1] for row in rows} <= {"overlong", "sentences", "end", "|"}
    assert rows[0].startswith("  failed") and rows[1].startswith("    ")
    assert file.getvalue() == text + "\n"


def test_a_long_path_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal, path = Terminal(), "/a-b/" + "c-d" * 20
    write_lines([f"report in the file: {path}"], terminal)
    assert path in terminal.getvalue()


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    say(["nothing"])
    assert capsys.readouterr().out == ""


def test_singular_and_plural() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(0, "image") == "0 images"
    assert counted(1234, "box", "boxes") == "1,234 boxes"


def test_a_terminal_without_the_characters_of_a_name_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True))
    say(["| 自 |", "lone \udcff"])
    assert sys.stdout.buffer.getvalue().decode().splitlines() == ["| \\u81ea |", "lone \\udcff"]


def test_warnings_go_to_standard_error_and_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    warn(["one", "two"])
    assert capsys.readouterr() == ("", "warning: one\nwarning: two\n")


def test_one_of_several_processes_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        say([f"line of {rank}"])
        warn([f"warning of {rank}"])
    assert capsys.readouterr() == ("line of 0\n", "warning: warning of 0\n")


def test_a_log_keeps_few_states_of_a_progress_bar_and_a_terminal_shows_each(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(total=3, unit="image") as bar:
            for _ in range(3):
                time.sleep(0.11)
                bar.update()
        states[type(stream)] = [state for state in stream.getvalue().split("\r") if "image" in state]
        assert "3/3" in states[type(stream)][-1]
    assert len(states[Terminal]) > 3
    assert len(states[io.StringIO]) == 2  # the beginning and the end
