from __future__ import annotations

from pathlib import Path

from utils.config import Config, EvaluatorConfig
from utils.sinks import worst_images_of


def test_the_config_says_whether_there_is_a_report_and_how_large(tmp_path: Path) -> None:
    wanted = worst_images_of(Config("mine", evaluator=EvaluatorConfig(tmp_path, report_images=7)))
    assert wanted is not None
    assert (wanted.title, wanted.count) == ("mine", 7)
    assert worst_images_of(Config(evaluator=EvaluatorConfig(tmp_path, report=False))) is None
