from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from utils.class_map import ClassMap
from utils.cli.parsers import parse
from utils.distributed import Session
from utils.evaluation.evaluator import Evaluator
from utils.run import Run, build_evaluator


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., Run]:
    """A run of the evaluation script with these keys set."""

    def run(*keys: str) -> Run:
        save_dir = f"evaluator.save_dir={tmp_path}"
        options = parse("evaluate", None, [part for key in (*keys, save_dir) for part in ("--set", key)])
        models = Mock(class_map=ClassMap.from_targets(("car",), {}), device="cpu fp32")
        return Run(options, Session(), Mock(), Mock(), models, Mock())

    return run


@pytest.mark.parametrize("report", ["true", "false"])
def test_the_config_says_whether_there_is_a_report_and_how_large(report: str, run_of: Callable[..., Run]) -> None:
    evaluator = build_evaluator(run_of(f"evaluator.report={report}", "evaluator.report_images=7"))
    assert isinstance(evaluator, Evaluator)
    worst = evaluator._worst_images
    assert (worst and worst.count) == (7 if report == "true" else None)


def test_an_evaluation_that_will_be_replaced_is_dated(
    run_of: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_evaluator(run_of())
    assert capsys.readouterr().out == ""
    (tmp_path / "metrics.json").write_text('{"run": {"date": "2026-11-28T14:20:31+00:00"}}')
    build_evaluator(run_of())
    line = f"replaces the evaluation of 2026-11-28 14:20 in {tmp_path}; -o DIR puts this one elsewhere\n"
    assert capsys.readouterr().out == line
