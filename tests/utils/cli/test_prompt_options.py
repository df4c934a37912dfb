"""The command line's options for prompt files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from utils.classes import COCO_CLASSES
from utils.cli.options import Options
from utils.cli.parsers import parse
from utils.errors import UserError
from utils.prompts.table import PromptOverrides


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config.json and a list of names, to work in."""
    (tmp_path / "config.json").write_text(json.dumps({"dataset": {"data_dir": "voc"}}))
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(command: str) -> Options:
    return parse("visual", "doc", command.split())


def test_what_is_said_of_a_prompt_file(working_directory: Path) -> None:
    options = parsed("-p labels --bbox-format xywh --category_offset=coco91 --prompt-names names.txt")
    assert options.prompt == working_directory / "labels"
    assert options.prompt_overrides == PromptOverrides("xywh", "coco91", ("dog", "cat"))
    assert parsed("-p a.json --prompt-names coco").prompt_overrides == PromptOverrides(class_names=COCO_CLASSES)
    columns = parse("visual", "doc", ["-p", "a.json", "--label-columns", "x y w h id"]).prompt_overrides
    assert columns == PromptOverrides(label_columns="x y w h id")
    assert parsed("-p a.json").prompt_overrides == parsed("").prompt_overrides == PromptOverrides()


@pytest.mark.parametrize(
    "command, message",
    [
        ("--bbox-format xywh", "--bbox-format: there is no prompt file; -p/--prompt names it"),
        ("--category-offset 1", "--category-offset: there is no prompt file"),
        ("--prompt-names coco", "--prompt-names: there is no prompt file"),
        ("--label-columns polygon", "--label-columns: there is no prompt file"),
        ("-p a --label-columns xywh", "argument --label_columns: invalid choice: 'xywh'"),
        ("-p a --bbox-format cxcywh", "argument --bbox_format: invalid choice: 'cxcywh'"),
        ("-p a --category-offset 2", "argument --category_offset: invalid choice: '2'"),
        ("-p a --prompt-names gone.txt", "{}/gone.txt: cannot be read"),
    ],
)
def test_refusals(command: str, message: str, working_directory: Path) -> None:
    with pytest.raises(UserError) as refusal:
        parsed(command)
    assert str(refusal.value).startswith(message.format(working_directory))
