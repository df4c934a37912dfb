from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.config import Override, load_config
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.formats.registry import FORMATS
from utils.io.terminal import as_typed

SEED = Path(__file__).parents[2] / "fixtures" / "seed_config.json"


def config_file(folder: Path, content: object) -> Path:
    """A config file with this content: text as it stands, anything else as JSON."""
    file = folder / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


def refusal(file: Path, *overrides: str) -> str:
    """What the refusal of a config says, the folder left out."""
    with pytest.raises(UserError) as caught:
        load_config(file, overrides)
    return str(caught.value).replace(f"{file.parent}/", "")


def test_defaults_of_an_empty_file(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, {}))
    assert (config.dataset.split, config.dataset.conf, config.dataloader.batch_size) == ("val", 0.25, 16)
    assert config.predictor.save_dir == tmp_path / "outputs/masks"
    assert config.arch.sam_weights is None
    assert config.dataset.classes is None


def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "names.txt").write_text("car\nplane\n")
    dataset = {"data_dir": "voc", "classes": "names.txt"}
    config_file(tmp_path, {"dataset": dataset, "arch": {"yolo_weights": "w/my.pt", "sam_weights": "/w/sam.pt"}})
    monkeypatch.chdir(elsewhere)
    config = load_config(Path("../config.json"))
    assert config.dataset.data_dir is not None
    assert config.dataset.data_dir.is_absolute()
    assert config.dataset.data_dir.resolve() == tmp_path / "voc"
    assert config.dataset.classes == ("car", "plane")
    assert config.arch.yolo_weights is not None
    assert config.arch.yolo_weights.resolve() == tmp_path / "w/my.pt"
    assert config.arch.sam_weights == Path("/w/sam.pt")


def test_overriding_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config_file(tmp_path, {"dataset": {"data_dir": "voc"}})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config(file, ["dataset.data_dir=mine"]).dataset.data_dir == tmp_path / "elsewhere/mine"


def test_paths_may_start_at_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    home.mkdir()
    (home / "names.txt").write_text("car\nplane\n")
    (home / "sam.yaml").touch()
    arch = {"sam_config": "~/sam.yaml", "sam_weights": "~/sam.pt"}
    file = config_file(tmp_path, {"auto_mask": {"save_dir": "~/ann"}, "arch": arch})
    config = load_config(file, ["predictor.save_dir=~", "evaluator.save_dir=a/~", "dataset.classes=~/names.txt"])
    assert (config.auto_mask.save_dir, config.predictor.save_dir) == (home / "ann", home)
    assert (config.arch.sam_config, config.arch.sam_weights) == (str(home / "sam.yaml"), home / "sam.pt")
    assert config.dataset.classes == ("car", "plane")
    assert config.evaluator.save_dir == Path.cwd() / "a" / "~"


def test_official_names_without_a_folder_mean_their_home(tmp_path: Path) -> None:
    arch = {"yolo_weights": "yolov8n.pt", "sam_weights": "sam2.1_hiera_tiny.pt"}
    config = load_config(config_file(tmp_path, {"arch": arch}), ["finetune.init=yolov8x.pt"])
    assert config.arch.yolo_weights == REPOSITORY / "yolo/yolov8/yolov8n.pt"
    assert config.arch.sam_weights == REPOSITORY / "sam/sam2.1/sam2.1_hiera_tiny.pt"
    assert config.finetune.init == REPOSITORY / "yolo/yolov8/yolov8x.pt"
    in_a_folder = load_config(config_file(tmp_path, {"arch": {"yolo_weights": "./yolov8n.pt"}}))
    assert in_a_folder.arch.yolo_weights == tmp_path / "yolov8n.pt"


def test_sam_config_is_a_file_first_then_a_name(tmp_path: Path) -> None:
    name = "configs/sam2.1/sam2.1_hiera_l.yaml"
    file = config_file(tmp_path, {"arch": {"sam_config": name}})
    assert load_config(file).arch.sam_config == name
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert load_config(file).arch.sam_config == str(tmp_path / name)


def test_official_sam_weights_bring_their_own_config(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"arch": {"sam_config": "mine.yaml", "sam_weights": "mine.pt"}})
    assert load_config(file, ["arch.sam_weights=sam2.1_hiera_l.pt"]).arch.sam_config is None
    assert load_config(file, ["arch.sam_weights=other.pt"]).arch.sam_config == "mine.yaml"
    both = ["arch.sam_config=b.yaml", "arch.sam_weights=sam2.1_hiera_l.pt"]
    assert load_config(file, both).arch.sam_config == load_config(file, both[::-1]).arch.sam_config == "b.yaml"


def test_the_seeds_own_file_loads(capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(SEED)
    assert config.arch.yolo_weights == SEED.parent / "yolo/yolov8/ImageNet_VID/yolov8m_ImageNet_VID.pt"
    assert config.arch.sam_weights == SEED.parent / "sam2/checkpoints/sam2.1_hiera_large.pt"
    assert config.arch.sam_config == "configs/sam2.1/sam2.1_hiera_l.yaml"
    assert (config.dataset.num_classes, config.dataset.conf) == (31, 0.25)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err == f"warning: {as_typed(str(SEED))}: n_gpu is obsolete and ignored; --device chooses the device\n"
    )


def test_num_classes_counts_the_background(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"dataset": {"num_classes": 3}})
    dataset = load_config(file).dataset
    dataset.check_classes(["car", "plane"])
    with pytest.raises(UserError, match="num_classes: is 3, but 3 class names and the background make 4"):
        dataset.check_classes(["car", "plane", "boat"])
    expected = "config.json: dataset.num_classes: is 3, but 1 class names and the background make 2"
    (tmp_path / "names.txt").write_text("car")
    assert refusal(config_file(tmp_path, {"dataset": {"num_classes": 3, "classes": "names.txt"}})) == expected


def test_overrides_come_before_validation(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"dataloader": {"batch_size": 0}, "dataset": {"split": 7, "classes": "missing.txt"}})
    config = load_config(file, ["dataloader.batch_size=4", "dataset.split=test", 'dataset.classes=["a", "b=c"]'])
    assert (config.dataloader.batch_size, config.dataset.split, config.dataset.classes) == (4, "test", ("a", "b=c"))


def test_the_later_override_wins(tmp_path: Path) -> None:
    file = config_file(tmp_path, {})
    assert load_config(file, ["dataset.conf=0.5", "dataset.conf=0.75"]).dataset.conf == 0.75


@pytest.mark.parametrize(
    "assignment", ["a.b=12", "a.b=text", "a.b=a=b c", 'a.b="12"', 'a.b=["x", 1]', "a.b=null", "a.b="]
)
def test_an_override_can_be_given_again(assignment: str) -> None:
    override = Override.parse(assignment)
    assert override.assignment == assignment
    assert Override.parse(override.assignment) == override


def test_what_is_typed_is_read_as_the_key_needs_it(tmp_path: Path) -> None:
    typed = ["dataset.conf=.25", "dataset.split=2012", "detector.iou=1e-1", "name=true"]
    config = load_config(config_file(tmp_path, {}), typed)
    assert (config.dataset.conf, config.dataset.split, config.detector.iou, config.name) == (0.25, "2012", 0.1, "true")
    with pytest.raises(UserError, match=r"expected an object, found an integer \(5\)"):
        load_config(config_file(tmp_path, {}), ["finetune.yolo.extra=5"])
    with pytest.raises(UserError, match=r"""no JSON; .* type --set 'auto_mask.splits=\{"name": value\}'"""):
        load_config(config_file(tmp_path, {}), ["auto_mask.splits={train:0.8}"])  # a shell has eaten the quotes
    for wrong in ("dataset.conf=nan", "dataset.conf=x", "dataset.conf=true", "dataloader.batch_size=1.5"):
        with pytest.raises(UserError, match="expected a"):
            load_config(config_file(tmp_path, {}), [wrong])


def test_label_map(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"dataset": {"label_map": {"7": 1, "254": 255}}})
    assert load_config(file).dataset.label_map == {7: 1, 254: 255}


@pytest.mark.parametrize(
    "text, place, advice",
    [
        ('{\n  "name": "x",\n}', "3:1|2:14", "delete the comma: nothing follows it"),  # Python 3.13 points at the comma
        ('{"dataset": {"classes": ["a",]}}', "1:30|1:29", "delete the comma: nothing follows it"),
        ('{\n  "name": "x"\n  "arch": {}\n}', "3:3", "a comma is missing before this place"),
        ("{'name': 'x'}", "1:2", "write \", not '"),
        ("{“name”: “x”}", "1:2", 'write ", not “'),
        ('// mine\n{"name": "x"}', "1:1", "delete the comment: JSON has none"),
        ('{"dataloader": {\n  # mine\n  "batch_size": 1}}', "2:3", "delete the comment: JSON has none"),
        ('{"evaluator": {"report": True}}', "1:26", "write true, not True"),
        ('{"evaluator": {"diff": None}}', "1:24", "write null, not None"),
        ('{"dataset": {"conf": .3}}', "1:22", "write 0.3, not .3"),
        ('{"dataset": {"conf": 0,3}}', "1:24", "write a point in numbers, not a comma"),
        (r'{"dataset": {"data_dir": "C:\data"}}', "1:29", r"write / or \\, not \ "),
        ('{"name": "x"', "1:13", "the text ends too early: a bracket, brace or quote is not closed"),
        (" \n", "2:1", "the file is empty"),
    ],
)
def test_json_that_people_write_by_hand(tmp_path: Path, text: str, place: str, advice: str) -> None:
    assert refusal(config_file(tmp_path, text)) in {
        f"config.json:{each}: not JSON: {advice.strip()}" for each in place.split("|")
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ('{\n  "name": "x",\n  "arch" {}\n}', "config.json:3:10: not JSON: "),
        ('{"name": "x"', "config.json:1:13: not JSON: "),
        ('{"dataset": {"conf": NaN}}', "config.json: not JSON: NaN is not a JSON number"),
        ('{"dataset": {"conf": -Infinity}}', "config.json: not JSON: -Infinity is not"),
        ('{"dataset": {"conf": 0.1, "conf": 0.2}}', 'config.json: not JSON: key "conf" is given twice'),
        ("[" * 200_000, "config.json: its lists are nested too deeply"),
        (f'{{"dataset": {{"conf": {"9" * 5000}}}}}', "config.json: not JSON: Exceeds the limit (4300"),
        ("[]", "config.json: expected an object, found a list ([])"),
        ('{"dataset": 5}', "config.json: dataset: expected an object, found an integer (5)"),
        ('{"dataset": {"conf": 1e999}}', "config.json: dataset.conf: the number is too large"),
    ],
)
def test_what_is_no_config(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(config_file(tmp_path, text)).startswith(message)


def test_unreadable_files(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere.json") == "nowhere.json: cannot be read: No such file or directory"
    (tmp_path / "config.json").write_bytes(b'{"name": "\xff"}')
    assert refusal(tmp_path / "config.json") == "config.json: is not UTF-8 text (byte 10)"


@pytest.mark.parametrize(
    "key, value, complaint",
    [
        ("name", [5], "expected a string, found a list ([5])"),
        ("arch.yolo", [5], "expected a string, found a list ([5])"),
        ("arch.yolo_weights", [], "expected a path, found a list ([])"),
        ("arch.sam_weights", "", "the path is empty"),
        ("dataset.conf", "0.3", 'expected a number or the name of a .json file, found a string ("0.3")'),
        ("dataset.conf", True, "expected a number, found a boolean (true)"),
        ("dataset.conf", 1.5, "must be between 0 and 1, not 1.5"),
        ("dataset.conf", None, "expected a number, found nothing (null)"),
        ("dataset.classes", [], "there are no class names"),
        ("dataset.label_map", {"7": 256}, "7: 256 is not within 0 to 255"),
        ("dataset.label_map", {"sky": 1}, 'expected integers as keys, found "sky"'),
        ("dataloader.batch_size", 0, "must be at least 1, not 0"),
        ("dataloader.batch_size", 16.0, "expected an integer, found a number (16.0)"),
        ("dataloader.num_workers", -1, "must be at least 0, not -1"),
        ("predictor.format", "gif", 'must be jpg or png or mp4, not "gif"'),
        ("predictor.side_by_side", 1, "expected true or false, found an integer (1)"),
        ("detector.iou", -0.1, "must be between 0 and 1, not -0.1"),
        ("segmenter.precision", "fp8", 'must be auto or fp32 or bf16 or fp16, not "fp8"'),
        ("finetune.sam.lr", 0, "must be above 0, not 0.0"),
        ("finetune.sam.train", "encoder", 'must be memory or decoder or all, not "encoder"'),
    ],
)
def test_wrong_values_are_named_wherever_they_stand(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    content: Any = value
    for section in reversed(key.split(".")):
        content = {section: content}
    assert refusal(config_file(tmp_path, content)) == f"config.json: {key}: {complaint}"
    assert refusal(config_file(tmp_path, {}), f"{key}={json.dumps(value)}") == f"--set {key}: {complaint}"


@pytest.mark.parametrize(
    "key, advice",
    [
        ("dataset.confidence", "did you mean dataset.conf?"),
        ("evaluater.save_dir", "did you mean evaluator.save_dir?"),
        ("batch_size", "did you mean dataloader.batch_size?"),
        ("finetune.sam.learning_rate", "did you mean finetune.sam.lr?"),
        ("xyz", "known are name, arch, dataset, "),
        ("xyz.qqqq", "known are name, arch, dataset, "),
    ],
)
def test_unknown_keys_get_the_nearest_known(tmp_path: Path, key: str, advice: str) -> None:
    assert f"--set {key}: unknown key; {advice}" in refusal(config_file(tmp_path, {}), f"{key}=1")
    content: Any = 1
    for section in reversed(key.split(".")):
        content = {section: content}
    assert ": unknown key; " in refusal(config_file(tmp_path, content))


def test_unusable_overrides(tmp_path: Path) -> None:
    file = config_file(tmp_path, {})
    assert refusal(file, "dataset.conf") == "--set dataset.conf: expected section.key=value"
    assert refusal(file, "dataset={}") == "--set dataset: is a section; set its keys one by one"
    assert refusal(config_file(tmp_path, {"arch": 5}), "arch.sam_weights=sam2.1_hiera_l.pt").startswith(
        "config.json: arch:"
    )


@pytest.mark.parametrize("name", ["config.json", "configs/official.json", "configs/voc2012.json"])
def test_shipped_configs_load_and_keep_outputs_together(name: str) -> None:
    if not (REPOSITORY / "datasets/demo/class_names.txt").is_file() and name == "config.json":
        pytest.skip("the demo is not there")
    config = load_config(REPOSITORY / name)
    for save_dir in (config.evaluator.save_dir, config.predictor.save_dir, config.auto_mask.save_dir):
        assert save_dir.resolve().is_relative_to(REPOSITORY / "outputs")
    if name == "configs/voc2012.json":
        assert len(config.dataset.classes or ()) == 20


def test_schema_key_is_for_editors(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"$schema": "configs/schema.json", "name": "mine"})
    assert load_config(file) == load_config(config_file(tmp_path, {"name": "mine"}))
    assert "known are name" in refusal(config_file(tmp_path, {"dataset": {}}), "$schema=x")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    content = {
        "dataset": {"conf": 2, "splt": "val"},
        "auto_mask": {"formats": ["labelmee", 5]},
        "finetune": {"init": 5},
    }
    lines = refusal(config_file(tmp_path, content), "dataloader.batch_size=0").splitlines()
    assert lines == [
        "config.json: dataset.conf: must be between 0 and 1, not 2.0",
        "config.json: dataset.splt: unknown key; did you mean dataset.split?",
        "--set dataloader.batch_size: must be at least 1, not 0",
        f'config.json: auto_mask.formats[0]: must be {" or ".join(FORMATS)}, not "labelmee"; did you mean labelme?',
        "config.json: finetune.init: expected a path, found an integer (5)",
    ]


@pytest.mark.parametrize(
    "assignment, complaint",
    [
        ("dataset.classes=[5]", "dataset.classes[0]: expected a string, found an integer (5)"),
        ('dataset.classes=["a", ""]', "dataset.classes[1]: a class name is blank"),
        ("dataset.classes=" + "[" * 100_000, "dataset.classes[0]: a class name is blank"),
        ('dataset.classes=["a\udcff"]', "dataset.classes: holds a byte that is no UTF-8 text"),
        ("dataset.split=", "dataset.split: the name is empty"),
        ("dataset.conf=" + "9" * 400, "dataset.conf: the number is too large"),
        ('dataset.label_map={"7": "a"}', 'dataset.label_map[7]: expected an integer, found a string ("a")'),
        ('dataset.label_map={"7.0": 1}', 'dataset.label_map: expected integers as keys, found "7.0"'),
        ("finetune.sam.train=memory", 'finetune.sam.train: "memory" is about video; --video trains it'),
        ("finetune.sam.view_share=[0.5]", "finetune.sam.view_share: must be two rising numbers above 0"),
        ('finetune.sam.view_share=["a"]', 'finetune.sam.view_share[0]: expected a number, found a string ("a")'),
        ("predictor.save_dir=null", "predictor.save_dir: expected a path, found nothing (null)"),
        ("finetune.init=", "finetune.init: the path is empty"),
    ],
)
def test_values_that_only_some_keys_refuse(tmp_path: Path, assignment: str, complaint: str) -> None:
    assert refusal(config_file(tmp_path, {}), assignment).startswith(f"--set {complaint}")


def test_a_config_behaves_as_a_dataclass(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, {"video": {"match_iou": 1}, "cleanup": {"smallest_part": 3}}))
    assert pickle.loads(pickle.dumps(config)) == config
    assert replace(config, name="other").video == config.video
    assert json.dumps(asdict(config.video)).startswith('{"keyframe_interval": 5, "match_iou": 1.0, ')
    with pytest.raises(FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["dog", "dog,cat", "[dog, hot dog]", '["dog", "hot dog"]'])
def test_names_are_listed_as_one_would_type_them(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    config = load_config(Path("config.json"), [f"detector.classes={text}", f"dataset.classes={text}"])
    expected = {"dog": ("dog",), "dog,cat": ("dog", "cat")}.get(text, ("dog", "hot dog"))
    assert config.detector.classes == config.dataset.classes == expected
    (tmp_path / "dog").write_text("a file\n")
    assert load_config(Path("config.json"), ["detector.classes=dog"]).detector.classes == ("a file",)
    with pytest.raises(UserError, match=r"names\.txt: cannot be read"):
        load_config(Path("config.json"), ["detector.classes=names.txt"])


def test_other_lists_are_typed_alike(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert load_config(tmp_path / "config.json", ["auto_mask.formats=coco,voc"]).auto_mask.formats == ("coco", "voc")
    with pytest.raises(UserError, match=r'formats\[0\]: must be labelme .* not "pdf"'):
        load_config(tmp_path / "config.json", ["auto_mask.formats=pdf"])


@pytest.mark.parametrize("left_out", [["_background_"], ["__ignore__", "_background_"], []])
def test_what_labelmes_class_lists_begin_with_is_no_class(
    left_out: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "class_names.txt").write_text("\n".join([*left_out, "car", "dog"]))
    (tmp_path / "config.json").write_text('{"dataset": {"classes": "class_names.txt"}}')
    assert load_config(tmp_path / "config.json").dataset.classes == ("car", "dog")
    said = capsys.readouterr().err
    assert said == (f"warning: class_names.txt: {', '.join(left_out)}: " if left_out else "") + (
        "left out; labelme lists them, but they are no classes\n" if left_out else ""
    )


def test_a_coco_file_names_the_classes_but_for_the_group_that_roboflow_adds(tmp_path: Path) -> None:
    names = [(0, "pets", "none"), (1, "dog", "pets"), (2, "person", "person"), (7, "Katze ä", "pets")]
    rows = [{"id": i, "name": name, "supercategory": group} for i, name, group in names]
    file = tmp_path / "_annotations.coco.json"
    override = f"dataset.classes={file}"
    empty = config_file(tmp_path, {})
    for annotated, expected in (([1, 2], ("dog", "person", "Katze ä")), ([0], ("pets", "dog", "person", "Katze ä"))):
        annotations = [{"category_id": i} for i in annotated]
        file.write_text(json.dumps({"images": [], "annotations": annotations, "categories": rows}), "utf-8")
        assert load_config(empty, [override]).dataset.classes == expected
    file.write_text(json.dumps([{"image_id": 1}]))
    assert "_annotations.coco.json: expected an object, found " in refusal(empty, override)
    file.write_text(json.dumps({"categories": [*rows, {"id": 9, "name": "Dog"}]}))
    assert 'category names[3]: "Dog" names the same class as "dog" at ' in refusal(empty, override)


def test_scores_of_classes_hold_for_their_classes_and_all_others(tmp_path: Path) -> None:
    file = config_file(tmp_path, {"dataset": {"conf": {"Potted-Plant": 0.5, "*": 0.1}}})
    dataset = load_config(file).dataset
    assert dataset.class_conf(["dog", "pottedplant"]).tolist() == [np.float32(0.1), 0.5]
    assert dataset.least_conf == 0.1
    assert load_config(file, ['dataset.conf={"dog": 0.5}']).dataset.class_conf(["dog", "cat"]).tolist() == [0.5, 0.25]
    assert load_config(file, ["dataset.conf=.3"]).dataset.class_conf(["dog"]).tolist() == [np.float32(0.3)]


def test_scores_of_classes_come_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text('{"conf": {"dog": 0.5}, "gain": 1}')
    assert load_config(config_file(tmp_path, {"dataset": {"conf": "thresholds.json"}})).dataset.conf == {"dog": 0.5}
    (tmp_path / "thresholds.json").write_text('{"scores": {}}')
    assert "thresholds.json: conf: is missing" in refusal(
        config_file(tmp_path, {"dataset": {"conf": "thresholds.json"}})
    )


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"dog": 1.5}, '"dog": must be between 0 and 1, not 1.5'),
        ({"dog": "high"}, '"dog": expected a number, found a string ("high")'),
        ({"dgo": 0.5}, 'conf: "dgo" is none of the 2 classes; did you mean "dog"?'),
        ("high", 'expected a number or the name of a .json file, found a string ("high")'),
        (True, "expected a number, found a boolean (true)"),
        (2, "must be between 0 and 1, not 2.0"),
    ],
)
def test_scores_that_make_no_sense_are_refused(tmp_path: Path, conf: object, reason: str) -> None:
    said = refusal(config_file(tmp_path, {"dataset": {"conf": conf, "classes": ["dog", "cat"]}}))
    assert said.startswith("config.json: dataset.conf: ") and said.endswith(reason.removeprefix("conf: "))


def test_a_single_score_on_the_command_line_replaces_those_of_classes_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config_file(tmp_path, {"dataset": {"conf": {"dog": 0.5}}})
    assert load_config(file, [Override("dataset.conf", 0.1, "-conf/--conf_thres")]).dataset.conf == 0.1
    assert "dataset.conf has scores of single classes; -conf/--conf_thres replaces them all" in capsys.readouterr().err
    load_config(config_file(tmp_path, {"dataset": {"conf": 0.5}}), ["dataset.conf=0.1"])
    assert capsys.readouterr().err == ""
