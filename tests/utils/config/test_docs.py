from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from utils.config import Config, load_config
from utils.config.docs import TABLE, config_schema, made_files
from utils.config.loading import KEYS
from utils.config.official import REPOSITORY

SHIPPED = ("config.json", "configs/official.json", "configs/voc2012.json")
SEED = Path(__file__).parents[2] / "fixtures" / "seed_config.json"


@pytest.mark.parametrize("path", made_files(), ids=lambda path: path.name)
def test_committed_docs_are_what_the_code_makes(path: Path) -> None:
    made = made_files()[path]
    assert path.read_text("utf-8") == made, "run python -m utils.config.docs"


def test_every_key_has_a_description_and_a_row() -> None:
    leaves = [key for key in KEYS if not any(other.startswith(f"{key}.") for other in KEYS)]
    undescribed = [key for key in leaves if not KEYS[key].description]
    assert undescribed == []
    rows = (REPOSITORY / "docs/config.md").read_text("utf-8").partition(TABLE)[2].splitlines()
    assert [row.split("`")[1] for row in rows] == leaves


def test_no_scalar_is_read_leniently() -> None:
    """A number, a text or a flag that pydantic may convert would take "1" for 1."""
    for key, field in KEYS.items():
        if {bool, int, float, str} & {field.annotation, *getattr(field.annotation, "__args__", ())}:
            strict = any(getattr(mark, "strict", None) for mark in field.metadata)
            assert strict or "dict" in str(field.annotation), key


def problems(content: object) -> list[str]:
    """What the JSON Schema has against a config file."""
    validator = jsonschema.Draft202012Validator(json.loads((REPOSITORY / "configs/schema.json").read_text("utf-8")))
    return [error.message for error in validator.iter_errors(content)]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_name_the_schema_and_keep_to_it(name: str) -> None:
    file = REPOSITORY / name
    content = json.loads(file.read_text("utf-8"))
    assert (file.parent / content["$schema"]).resolve() == REPOSITORY / "configs/schema.json"
    assert problems(content) == []


@pytest.mark.parametrize(
    "content, sound",
    [
        ({"dataset": {"classes": "names.txt", "label_map": {"7": 1}}, "finetune": {"init": "scratch"}}, True),
        ({"dataset": {"classes": ["a", "b"], "data_dir": None}, "auto_mask": {"formats": ["coco", "yolo"]}}, True),
        ({"finetune": {"sam": {"view_share": [0.5, 1], "lr": 1}}}, True),
        ({"dataset": {"conf": "0.3"}}, False),
        ({"dataset": {"conf": 1.5}}, False),
        ({"dataset": {"conf": {"car": 0.5, "*": 0.2}}}, True),
        ({"dataset": {"conf": {"car": 2}}}, False),
        ({"dataset": {"confidence": 0.3}}, False),
        ({"dataset": {"data_dir": 5}}, False),
        ({"dataloader": {"batch_size": 0}}, False),
        ({"predictor": {"format": "gif"}}, False),
        ({"auto_mask": {"formats": ["pdf"]}}, False),
        ({"finetune": {"sam": {"lr": 0}}}, False),
    ],
)
def test_editors_and_scripts_agree(tmp_path: Path, content: dict[str, Any], sound: bool) -> None:
    (tmp_path / "names.txt").write_text("car\nplane\n")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(content))
    assert (problems(content) == []) is sound
    if sound:
        load_config(file)
    else:
        with pytest.raises(ValueError, match=r"config\.json: "):
            load_config(file)


def test_defaults_of_the_schema_are_those_of_the_code() -> None:
    schema, config = config_schema(), Config()
    for section, reference in schema["properties"].items():
        properties = schema["$defs"].get(reference.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
        defaults = {name: node["default"] for name, node in properties.items() if "default" in node}
        values = {name: getattr(getattr(config, section), name) for name in defaults}
        assert json.loads(json.dumps(values, default=str)) == defaults
