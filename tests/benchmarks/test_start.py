from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.start import main


@pytest.mark.slow
def test_a_second_run_finds_what_the_first_one_and_the_benchmark_wrote(tmp_path: Path) -> None:
    result = tmp_path / "start.json"
    options = ["--images", "3", "--device", "cpu", "--project=-b 1", "--folder", str(tmp_path), "--json", str(result)]
    assert main(options) == 0
    first, again = json.loads(result.read_text())["lines"]
    assert (first["run"], again["run"], again["exit code"]) == ("first", "again", 0)
    assert min(first["s"], first["peak MiB"], again["s"], again["peak MiB"]) > 0
