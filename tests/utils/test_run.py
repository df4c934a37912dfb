from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from utils.cli.parsers import parse
from utils.evaluation.evaluator import Evaluator
from utils.run import build_evaluator


@pytest.mark.parametrize("report", ["true", "false"])
def test_the_config_says_whether_there_is_a_report_and_how_large(report: str, tmp_path: Path) -> None:
    keys = (f"evaluator.report={report}", "evaluator.report_images=7", "name=mine", f"evaluator.save_dir={tmp_path}")
    options = parse("evaluate", None, [part for key in keys for part in ("--set", key)])
    evaluator = build_evaluator(options, ("car",), Mock())
    assert isinstance(evaluator, Evaluator)
    worst = evaluator.worst_images
    assert (worst and (worst.title, worst.count)) == (("mine", 7) if report == "true" else None)
