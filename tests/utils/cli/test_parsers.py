from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest

from utils.cli.arguments import OTHER_NAMES, ConfigOverrideAction
from utils.cli.options import Options, Output
from utils.cli.parsers import configured, finetune_parser, parse, run_parser
from utils.config.loading import KEYS
from utils.config.official import REPOSITORY
from utils.errors import UserError
from utils.formats.registry import FORMATS

DEMO = str(REPOSITORY / "datasets" / "demo")


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config.json, to work in."""
    (tmp_path / "config.json").write_text(json.dumps({"dataset": {"data_dir": "voc", "conf": 0.5}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(output: Output, command: str) -> Options:
    """The options of a script's command line without blanks in its arguments."""
    return parse(output, "doc", command.split())


def test_nothing_given(working_directory: Path) -> None:
    options = parsed("evaluate", "")
    assert options.config.dataset.data_dir == working_directory / "voc"
    assert options.config.dataset.conf == 0.5
    assert (options.outputs, options.source, options.prompt) == (("evaluate",), (), None)
    assert (options.device, options.trust_weights) == ("auto", False)


def test_the_contracts_command_line(working_directory: Path) -> None:
    options = parsed("visual", "-c config.json -b 4 -conf 0.3 -p ./yolo/prediction.json")
    assert options.config.dataloader.batch_size == 4
    assert options.config.dataset.conf == 0.3
    assert options.prompt == working_directory / "yolo/prediction.json"


@pytest.mark.parametrize(
    "command", ["--batch_size 4 --conf_thres=0.3", "--batch-size=4 --conf-thres 0.3", "-b4 -conf=0.3"]
)
def test_spellings_of_long_options(command: str) -> None:
    config = parsed("visual", command).config
    assert (config.dataloader.batch_size, config.dataset.conf) == (4, 0.3)


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_the_names_that_people_type(dashes: str, working_directory: Path) -> None:
    given = (
        "@conf 0.4 @batch 2 @imgsz 960 @classes dog cat @split test @data voc2 @yolo-weights yolov8n.pt "
        "@sam_weights mine.pt @output run @source photos"
    )
    words = given.replace("@", dashes).split()
    options = parse("visual", "doc", words)
    config = options.config
    assert (config.dataset.conf, config.dataloader.batch_size, config.detector.imgsz) == (0.4, 2, 960)
    assert (config.detector.classes, config.dataset.split) == (("dog", "cat"), "test")
    assert config.dataset.data_dir == working_directory / "voc2"
    assert config.arch.yolo_weights == REPOSITORY / "yolo" / "yolov8" / "yolov8n.pt"
    assert config.arch.sam_weights == working_directory / "mine.pt"
    assert config.predictor.save_dir == working_directory / "run" / "masks"
    prompt = parse("visual", "doc", f"{dashes}prompt boxes.json".split()).prompt
    assert prompt == working_directory / "boxes.json"
    assert options.source == (working_directory / "photos",)


def test_one_option_puts_all_outputs_below_a_folder(working_directory: Path) -> None:
    config = parsed("evaluate", "-o runs/a --set predictor.save_dir=pictures").config
    assert config.evaluator.save_dir == working_directory / "runs" / "a" / "evaluation"
    assert config.auto_mask.save_dir == working_directory / "runs" / "a" / "annotations"
    assert config.predictor.save_dir == working_directory / "pictures"


def test_names_may_have_commas_between_them() -> None:
    options = parsed("annotate", "--classes dog,cat, hot_dog --format coco,yolo --also visual,evaluate")
    assert options.config.detector.classes == ("dog", "cat", "hot_dog")
    assert options.config.auto_mask.formats == ("coco", "yolo")
    assert options.outputs == ("annotate", "visual", "evaluate")


def test_every_name_of_another_tool_leads_to_what_the_scripts_have() -> None:
    """No entry of the table is stale, or hidden by an option of the same name."""
    actions = run_parser("doc")._option_string_actions
    options = {option.lstrip("-") for option in actions}
    assert {ours for ours in OTHER_NAMES if ours not in options and ours not in KEYS} == set()
    assert {other for others in OTHER_NAMES.values() for other in others.split() if f"--{other}" in actions} == set()


def test_the_versions_of_what_decides_results_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parsed("visual", "--version")
    printed = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert (printed["torch"], printed["python"]) == (version("torch"), platform.python_version())


@pytest.mark.parametrize(
    ("model", "given", "meant"),
    [
        ("yolo", "--imgsz 320", "--set finetune.yolo.imgsz=320"),
        ("sam", "--imgsz 320", "--set finetune.sam.image_size=320"),
        ("yolo", "--batch-size 2", "--set finetune.yolo.batch=2"),
        ("sam", "--batch-size 2", "--set finetune.sam.batch_size=2"),
        ("yolo", "--epochs 3", "--set finetune.yolo.epochs=3"),
        ("sam", "--steps 3", "--set finetune.sam.steps=3"),
        ("sam", "--output x.pt", "--set finetune.output=x.pt"),
        ("yolo", "--split val", "--set finetune.val_split=val"),
        ("yolo", "--dataset voc", "--data"),
    ],
)
def test_an_unknown_option_of_finetuning_means_its_own_keys(
    model: Literal["yolo", "sam"], given: str, meant: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"did you mean {meant}?")):
        finetune_parser("doc", model).parse_args(given.split())


@pytest.mark.parametrize(
    ("model", "given"), [("yolo", "-o x.pt"), ("yolo", "--video"), ("sam", "--epochs 3"), ("yolo", "-b 2")]
)
def test_no_key_of_another_command_is_suggested_to_finetuning(model: Literal["yolo", "sam"], given: str) -> None:
    other = {"yolo": "finetune.sam", "sam": "finetune.yolo"}[model]
    with pytest.raises(UserError, match="no such option") as error:
        finetune_parser("doc", model).parse_args(given.split())
    assert not any(section in str(error.value) for section in (other, "predictor.", "auto_mask.", "dataloader."))


def test_only_the_names_of_options_change_their_spelling(working_directory: Path) -> None:
    options = parsed("visual", "--set=dataset.split=a-b_c --prompt=my-boxes_1.json --trust-weights --device=cuda:1")
    assert options.config.dataset.split == "a-b_c"
    assert options.prompt == working_directory / "my-boxes_1.json"
    assert (options.trust_weights, options.device) == (True, "cuda:1")


def test_outputs_are_in_order_and_once() -> None:
    options = parsed("visual", "--also annotate visual --also evaluate")
    assert options.outputs == ("visual", "annotate", "evaluate")


def test_sources_are_absolute_and_need_no_dataset(working_directory: Path) -> None:
    (working_directory / "config.json").write_text("{}")
    options = parsed("annotate", "-s photos a.jpg --source /b --precision bf16")
    assert options.source == (working_directory / "photos", working_directory / "a.jpg", Path("/b"))
    assert options.config.segmenter.precision == "bf16"


def test_options_of_annotating(working_directory: Path) -> None:
    options = parsed("annotate", "--format coco labelme --overwrite --dry-run --diff mine")
    assert options.config.auto_mask.formats == ("coco", "labelme")
    assert (options.overwrite, options.dry_run, options.diff) == (True, True, working_directory / "mine")
    options = parsed("visual", '--also annotate --diff mine --set auto_mask.formats=["voc"]')
    assert options.config.auto_mask.formats == ("voc",)
    assert (options.overwrite, options.dry_run, options.diff) == (False, False, working_directory / "mine")


def test_where_boxes_and_objects_come_from(working_directory: Path) -> None:
    assert (parsed("visual", "").boxes, parsed("visual", "").runs_detector) == ("detector", True)
    for given in ("-p a.json", "-p a.json --boxes file"):
        assert (parsed("visual", given).boxes, parsed("visual", given).runs_detector) == ("file", False)
    target = parsed("visual", "--boxes target")
    assert target.needs_gt_masks and target.needs_gt_instances and not target.runs_detector
    attributed = parsed("evaluate", "-p a.json --attribute")
    assert attributed.attribute and attributed.needs_gt_instances
    annotated = parsed("evaluate", f"-a mine --diff before {CLASSES}")
    folders = {"-a/--annotations": working_directory / "mine", "--diff": working_directory / "before"}
    assert annotated.annotation_folders == folders
    assert parsed("annotate", "--diff before").annotation_folders == {}


def test_the_last_of_option_and_set_wins() -> None:
    assert parsed("visual", "-conf 0.1 --set dataset.conf=0.9").config.dataset.conf == 0.9
    assert parsed("visual", "--set dataset.conf=0.9 -conf 0.1").config.dataset.conf == 0.1


CLASSES = '--set dataset.classes=["car"]'


@pytest.mark.parametrize(
    "command, message",
    [
        ("-b 0", "-b/--batch_size: must be at least 1, not 0"),
        ("--batch-size many", '-b/--batch_size: expected an integer, found a string ("many")'),
        ("-conf -1", "-conf/--conf_thres: must be between 0 and 1, not -1.0"),
        ("-conf NaN", '-conf/--conf_thres: expected a number or the name of a .json file, found a string ("NaN")'),
        ("--precision fp8", '--precision: must be auto or fp32 or bf16 or fp16, not "fp8"'),
        ("--set dataset.splt=x", "--set dataset.splt: unknown key; did you mean dataset.split?"),
        ("--set split", "--set split: expected section.key=value"),
        ("-c=", "argument -c/--config: the path is empty"),
        ("-s=", "argument -s/--source: the path is empty"),
        ("-p=", "argument -p/--prompt: the path is empty"),
        ("-o=", "argument -o/--output: the path is empty"),
        ("--data=", "--data: the path is empty"),
        ("-c nowhere.json", "nowhere.json: cannot be read: No such file or directory"),
        ("--bach 3", "--bach: no such option; did you mean --batch?"),
        ("--iou=0.5", "--iou: no such option; did you mean --set detector.iou=0.5?"),
        ("--max-det 9", "--max-det: no such option; did you mean --set detector.max_det=9?"),
        ("--epochs 5", "--epochs: no such option; did you mean --set finetune.yolo.epochs=5?"),
        ("--weights a.pt", "--weights: no such option; did you mean --yolo-weights?"),
        ("--project out", "--project: no such option; did you mean --output?"),
        ("\u2013conf 0.5", "\u2013conf: no such option; did you mean --conf?"),
        ("--dataset voc", "--dataset: no such option; did you mean --data?"),
        ("--img-size 640", "--img-size: no such option; did you mean --imgsz?"),
        ("--image-size 640", "--image-size: no such option; did you mean --imgsz?"),
        ("--confidence 0.5", "--confidence: no such option; did you mean --conf?"),
        ("--score-thr 0.5", "--score-thr: no such option; did you mean --conf?"),
        ("--slice-height 640", "--slice-height: no such option; did you mean --set detector.slice=640?"),
        ("--iou-thres 0.5", "--iou-thres: no such option; did you mean --set detector.iou=0.5?"),
        ("-v", "-v: no such option; did you mean --version?"),
        ("-i photos", "-i: no such option; did you mean --source?"),
        ("--input photos", "--input: no such option; did you mean --source?"),
        ("--save-dir out", "--save-dir: no such option; did you mean --output?"),
        ("--work-dir out", "--work-dir: no such option; did you mean --output?"),
        ("--sam2-checkpoint a.pt", "--sam2-checkpoint: no such option; did you mean --sam-weights?"),
        ("--cfg-options a=b", "--cfg-options: no such option; did you mean --set?"),
        ("--labels a.txt", "--labels: no such option; did you mean --set dataset.classes=a.txt?"),
        ("--gpu 0", "--gpu: no such option; did you mean --device?"),
        ("--fp16", "--fp16: no such option; did you mean --precision?"),
        ("--save-txt", "--save-txt: no such option; did you mean --format?"),
        ("--vid-stride 5", "--vid-stride: no such option; did you mean --keyframe-interval?"),
        ("--exist-ok", "--exist-ok: no such option; did you mean --overwrite?"),
        ("--show", "--show: no such option; overlays are files; --also visual makes them"),
        ("--resume", "--resume: no such option; the same command again goes on"),
        ("--local_rank 0", "--local-rank: no such option; torchrun starts several processes"),
        ("--extension .jpg", "--extension: no such option; --help lists the options"),
        ("--zzz", "--zzz: no such option; --help lists the options"),
        ("a.jpg", "a.jpg: belongs to no option"),
        (DEMO, f"{DEMO}: belongs to no option; a VOC tree is named by --data {DEMO} "),
        (f"{DEMO}/JPEGImages", f"{DEMO}/JPEGImages: belongs to no option; photos are named by -s {DEMO}/JPEG"),
        ("x" * 300, f"{'x' * 300}: belongs to no option"),
        ("--classes names.txt", "--classes names.txt: takes the names of the classes to be kept; what the labels"),
        ("-p", "argument -p/--prompt: expected one argument "),
        ("--also draw", '--also: must be evaluate or visual or annotate, not "draw"'),
        ("-s photos --also evaluate", "-s/--source: photos without target masks cannot be evaluated"),
        ("--format coco", "--format: is about annotations, "),
        ("--format coco pdf", f'--format[1]: must be {" or ".join(FORMATS)}, not "pdf"'),
        ("--set auto_mask.formats=[]", "--set auto_mask.formats: the list is empty"),
        ("--dry-run", "--dry-run: is about annotations, which this run does not write; --also annotate makes it"),
        ("--overwrite", "--overwrite: is about annotations, "),
        ("--diff mine", "--diff: is about annotations or metrics, "),
        ("--set predictor.format=mp4", "predictor.format: mp4 is for clips; --video makes them of the frames"),
        ("--attribute", "--attribute: is about evaluation, which this run does not do; --also evaluate makes it"),
        ("--boxes file", "--boxes file: there is no prompt file; -p/--prompt names it"),
        ("--boxes target -p a.json", "--boxes target: -p/--prompt gives boxes, too; leave one of the two out"),
        ("--boxes detector -p a.json", "--boxes detector: -p/--prompt gives boxes, too"),
        ("--boxes target -s photos", "--boxes target: photos of -s/--source have no target"),
        ("--also evaluate --boxes target --attribute", "--attribute: with --boxes target there is no detector to"),
        ("--video --compile on", "--compile on (segmenter.compile): with --video SAM2 is never compiled"),
        ("--video --set segmenter.window=auto", "segmenter.window: auto is for single images; with --video SAM2 sees"),
        ("--keyframe-interval 3", "--keyframe-interval: is about clips; --video makes them of the frames"),
        (
            f"-a mine -p a.json {CLASSES}",
            "-a/--annotations: takes the place of both models, so there are no boxes for -p",
        ),
        (
            f"-a mine --boxes target {CLASSES}",
            "-a/--annotations: takes the place of both models, so there are no boxes",
        ),
        (
            f"-a mine -conf 0.5 {CLASSES}",
            "-a/--annotations: its objects count as they stand; -conf/--conf_thres would change nothing",
        ),
        (
            f"-a mine --precision bf16 {CLASSES}",
            "-a/--annotations: its objects count as they stand; --precision would change nothing",
        ),
        (
            f"-a mine --set detector.imgsz=640 {CLASSES}",
            "-a/--annotations: its objects count as they stand; --set detector.imgsz would change nothing",
        ),
        ("--boxes target -conf 0.5", "--boxes target: the true boxes count as they stand; -conf/--conf_thres would"),
        ("--boxes target --set detector.iou=0.5", "--boxes target: the true boxes count as they stand; --set detector"),
        ("-p a.json --set detector.slice=640", "-p/--prompt: takes the place of the detector; --set detector.slice"),
        ("-p a.json --imgsz 320", "-p/--prompt: takes the place of the detector; --imgsz would change nothing"),
        ("-p a.json --set detector.iou=0.5", "-p/--prompt: takes the place of the detector; --set detector.iou would"),
        ("--set detector.overlap=0.3", "--set detector.overlap: is about slices, and detector.slice, the size of one"),
        ("--also evaluate --tune --set detector.slice=640", "--tune: at the low scores that it begins with, boxes of"),
        ("--set video.patience=3", "--set video.patience: is about clips; --video makes them of the frames"),
        (
            f"-a mine --set cleanup.clip_to_box=true {CLASSES}",
            "-a/--annotations: its objects count as they stand; --set cleanup.clip_to_box would change nothing",
        ),
        ("-a mine", "-a/--annotations /"),
        (f"--also evaluate -a ./mine --diff mine {CLASSES}", "--diff /"),
        (f"--also evaluate annotate --diff outputs/annotations {CLASSES}", "--diff /"),
    ],
)
def test_refusals(command: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parsed("visual", command)
    assert str(refusal.value).startswith(message)


def test_evaluation_takes_no_source() -> None:
    with pytest.raises(UserError, match=r"-s/--source: .* cannot be evaluated.* -a MASKS --format voc makes a tree"):
        parsed("evaluate", "-s photos")


def test_a_run_without_images_is_refused(working_directory: Path) -> None:
    (working_directory / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: dataset\.data_dir: no images"):
        parsed("visual", "")


def test_other_commands_add_their_own_options() -> None:
    parser = finetune_parser("doc", "sam")
    parser.add_argument("--train_parts", action=ConfigOverrideAction, key="finetune.sam.train")
    given = parser.parse_args(["--train-parts", "all", "--overwrite", "--set", "dataset.conf=0.75"])
    config = configured(given)
    assert given.overwrite
    assert (config.finetune.sam.train, config.dataset.conf) == ("all", 0.75)


def test_a_clone_of_sam2_is_refused_but_not_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.cli.parsers.REPOSITORY", tmp_path)
    (tmp_path / "sam2" / "checkpoints").mkdir(parents=True)
    assert parsed("visual", "")
    (tmp_path / "sam2" / "sam2").mkdir()
    with pytest.raises(UserError, match=r"sam2: a clone of sam2 beside the scripts .* move it elsewhere"):
        parsed("visual", "")


def test_help_shows_the_scripts_own_text_without_loading_models() -> None:
    heavy = ["torch", "ultralytics", "sam2", "matplotlib"]
    code = f"""
import sys
from utils.cli.parsers import parse
try:
    parse("visual", "Draws masks.")
finally:
    print([name for name in {heavy} if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code, "--help"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n[]\n")
    for text in ("Draws masks.", "--config", "--batch_size", "-conf", "--prompt", "--source", "--set", "--also"):
        assert text in done.stdout
