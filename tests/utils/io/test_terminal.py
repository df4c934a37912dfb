from __future__ import annotations

import io
import sys

import pytest

from utils.io.terminal import say, warn


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
