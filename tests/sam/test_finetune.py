"""Finetuning SAM2 on a painted split, in miniature."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.scenes import main as paint
from datasets.training import loader_workers, open_training_splits
from datasets.voc import VocDataset
from models.sam2_build import build_sam2, load_sam2
from sam.examples import ImageExamples, collate, jitter_box
from sam.finetune import best_step, finetune, main, resume_key, size_note, usage
from sam.objectives import IMAGE, ImageObjective, autocast, parameters_of
from sam.trainer import Trainer, schedule
from utils.cli.parsers import configured, finetune_parser
from utils.config import Config, SamFinetune, load_config
from utils.distributed import Session
from utils.errors import UserError

DEMO_CONFIG = Path(__file__).parents[2] / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config for four training steps from scratch on six painted images."""
    folder = tmp_path_factory.mktemp("finetune")
    for split, count in (("train", 4), ("val", 2)):
        paint(["--seed", "5", "--count", str(count), "--split", split, "--out", str(folder / "tree"), "--plain"])
    settings = {
        "arch": {"sam_config": str(DEMO_CONFIG), "sam_weights": "start.pt"},
        "dataset": {"data_dir": "tree", "classes": "tree/class_names.txt"},
        "dataloader": {"num_workers": 0},
        "finetune": {
            "init": "scratch",
            "output": "out.pt",
            "sam": {"train": "all", "steps": 4, "batch_size": 2, "image_size": 64, "val_every": 2, "mask_loss": "bce"},
        },
    }
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def result(config_file: Path) -> Path:
    """The weights that an unbroken run writes."""
    assert main(["-c", str(config_file)]) == 0
    return config_file.parent / "out.pt"


def test_the_weights_have_the_official_form_and_load_strictly(result: Path) -> None:
    state = torch.load(result, weights_only=True)
    assert list(state) == ["model"]
    assert state["model"]["no_mem_embed"].dtype == torch.float16
    load_sam2(str(DEMO_CONFIG), result, CPU)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config_file: Path, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(config_file)
    output = tmp_path / "out.pt"
    step = Trainer.train_step

    def cut_off(trainer: Trainer, batch: object) -> float:
        if trainer.step == 2:
            raise KeyboardInterrupt
        return step(trainer, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", cut_off)
        with pytest.raises(KeyboardInterrupt):
            finetune(config, output, CPU, Session())
    finetune(config, output, CPU, Session())
    ours, unbroken = (torch.load(path, weights_only=True)["model"] for path in (output, result))
    for name, tensor in unbroken.items():
        torch.testing.assert_close(ours[name], tensor, msg=name)
    assert {path.name for path in tmp_path.iterdir()} <= {"out.pt", "out.last.pt", "out.csv", "out.png"}
    assert (tmp_path / "out.csv").read_bytes() == result.with_suffix(".csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("scores", [(0.5, 0.4), (0.4, 0.5)])
def test_the_last_weights_are_written_too_if_earlier_ones_score_better(
    scores: tuple[float, float], config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = ((score, []) for score in (0.1, *scores))
    output, last = tmp_path / "out.pt", tmp_path / "out.last.pt"
    monkeypatch.setattr(ImageObjective, "validate", lambda *_: next(coming))
    last.write_text("of an earlier run")
    found, _ = finetune(load_config(config_file), output, CPU, Session())
    assert found == {0: 0.1, 2: scores[0], 4: scores[1]}
    assert best_step(found) == (2 if scores[0] > scores[1] else 4)
    assert last.is_file() == (best_step(found) == 2)
    if last.is_file():
        ours, theirs = (torch.load(path, weights_only=True)["model"]["no_mem_embed"] for path in (output, last))
        assert not torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("after, helped", [(0.7, True), (0.2, False), (0.5, False)])
def test_the_output_holds_the_better_of_start_and_training_and_the_messages_say_which(
    after: float,
    helped: bool,
    config_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    coming = ((score, []) for score in (0.5, 0.1, after))
    monkeypatch.setattr(ImageObjective, "validate", lambda *_: next(coming))
    monkeypatch.chdir(tmp_path)
    assert main(["-c", str(config_file), "--set", f"finetune.output={tmp_path / 'new.pt'}"]) == 0
    printed = capsys.readouterr()
    stored = torch.load(tmp_path / "new.pt", weights_only=True)["model"]["sam_mask_decoder.iou_token.weight"]
    torch.manual_seed(0)
    start = build_sam2(str(DEMO_CONFIG), 64).state_dict()["sam_mask_decoder.iou_token.weight"].half()
    assert torch.equal(stored, start) == (not helped)
    assert f"new.pt: mean IoU 0.5000 -> {after:.4f} on the split val" in printed.out
    assert ("use it:" in printed.out) == helped
    assert ("did not help" in printed.out) == ("--set finetune.sam.lr=1e-05" in printed.out) == (not helped)
    assert "best_iou=-1" not in printed.err


def test_the_curve_of_a_training_lies_beside_its_weights(result: Path) -> None:
    rows = list(csv.DictReader(result.with_suffix(".csv").open()))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [bool(row["score"]) for row in rows] == [True, False, True, False, True]
    assert rows[0]["loss"] == "" and all(0 < float(row["loss"]) < 100 for row in rows[1:])
    with Image.open(result.with_suffix(".png")) as picture:
        assert picture.width > 400 and len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_no_more_processes_load_examples_than_there_are_cores(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("datasets.training.ENOUGH", 0)
    assert [loader_workers(load_config(config_file, [f"dataloader.num_workers={n}"])) for n in (0, 2, 64)] == [0, 2, 4]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loader_workers(load_config(config_file, ["dataloader.num_workers=64"])) == 2


def test_dockers_small_shared_memory_lets_the_main_process_load(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 64 MB of it, a loader process would wait for room for ever."""
    monkeypatch.setattr("datasets.training.SHARED_MEMORY", str(config_file.parent))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    assert loader_workers(load_config(config_file, ["dataloader.num_workers=4"])) == 0
    assert "has room for 64 MiB only" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    config_file: Path, result: Path, tmp_path: Path, torchrun: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    output = tmp_path / "out.pt"
    done = torchrun("-m", "sam.finetune", "-c", str(config_file), "--set", f"finetune.output={output}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" -> ") == 1
    torch.manual_seed(0)
    start = build_sam2(str(DEMO_CONFIG), 64).state_dict()
    ours, alone = (torch.load(path, weights_only=True)["model"] for path in (output, result))
    steps = [torch.cat([(after[name] - start[name]).flatten() for name in start]) for after in (ours, alone)]
    # Rounding differs with the number of processes, and Adam lets tiny gradients move a weight as far as large ones.
    assert torch.cosine_similarity(*steps, dim=0) > 0.98


def image_trainer(config: Config, state_file: Path) -> Trainer:
    """A trainer of a small model with random weights."""
    torch.manual_seed(0)
    assert config.dataset.data_dir is not None
    train = VocDataset(config.dataset.data_dir, "train", with_gt_masks=True, with_gt_instances=True)
    model, settings = build_sam2(str(DEMO_CONFIG), 64), config.finetune.sam
    objective = ImageObjective(model, settings, train, train, 2**30)
    return Trainer(model, settings, objective, resume_key(config), state_file, Session())


@pytest.mark.parametrize(
    "setting", ["finetune.sam.steps=5", "finetune.init=other.pt", "finetune.train_split=val", "dataset.data_dir=other"]
)
def test_the_state_of_another_training_is_not_resumed(setting: str, config_file: Path, tmp_path: Path) -> None:
    trainer = image_trainer(load_config(config_file), tmp_path / "state.pt")
    trainer.save_state()
    assert trainer.resume()
    other = load_config(config_file, [setting])
    trainer = Trainer(
        trainer.model, other.finetune.sam, trainer.objective, resume_key(other), trainer.state_file, Session()
    )
    with pytest.raises(UserError, match=rf"state\.pt: an unfinished training with another {setting.split('=')[0]};"):
        trainer.resume()


def test_a_damaged_state_is_named(config_file: Path, tmp_path: Path) -> None:
    trainer = image_trainer(load_config(config_file), tmp_path / "state.pt")
    trainer.state_file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"state\.pt: cannot be loaded"):
        trainer.resume()


def test_an_existing_output_is_kept(config_file: Path, result: Path) -> None:
    before = result.read_bytes()
    with pytest.raises(UserError, match=r"out\.pt.*--overwrite"):
        main(["-c", str(config_file)])
    assert result.read_bytes() == before


@pytest.mark.parametrize(
    "output, reason",
    [("b.pt", r"b\.last\.pt: is there already"), ("file/a.pt", "no file can be made"), ("folder.pt", "is a")],
)
def test_training_does_not_begin_if_its_weights_cannot_be_written(
    output: str, reason: str, config_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.pt").mkdir()
    for name in ("b.last.pt", "file"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=reason):
        main(["-c", str(config_file), "--set", f"finetune.output={tmp_path / output}"])


@pytest.mark.parametrize(
    "told", [["arch.sam_weights=sam2.1_hiera_tiny.pt"], ["arch.sam_config=null", "finetune.init=sam2.1_hiera_tiny.pt"]]
)
def test_the_usage_line_names_the_architecture_that_official_weights_implied(
    told: list[str], config_file: Path
) -> None:
    def options(*told: str) -> list[str]:
        given = finetune_parser("", "sam").parse_args(["-c", str(config_file), *(f"--set={each}" for each in told)])
        return usage(given, configured(given), Path("new.pt"))

    again, weights = ["-c", str(config_file)], "--set=arch.sam_weights=new.pt"
    assert options() == [*again, weights]
    more = ["finetune.sam.steps=9", "dataset.split=val", "dataset.split=train", "detector.imgsz=96"]
    assert options(*more) == [*again, "--set=dataset.split=train", "--set=detector.imgsz=96", weights]
    sam_config = "configs/sam2.1/sam2.1_hiera_t.yaml"
    assert (
        options(*told)
        == options(f"arch.sam_config={sam_config}")
        == [*again, f"--set=arch.sam_config={sam_config}", weights]
    )


def test_a_note_tells_if_the_scripts_run_the_model_at_another_image_size(config_file: Path) -> None:
    assert size_note(load_config(config_file)) == (
        f"note: trained at 64 px; {DEMO_CONFIG} runs it at 704 px, its model.image_size"
    )
    assert size_note(load_config(config_file, ["finetune.sam.image_size=704"])) is None
    assert size_note(load_config(config_file, ["finetune.sam.image_size=null"])) is None


def test_splits_that_share_images_are_refused(config_file: Path) -> None:
    with pytest.raises(UserError, match="share"):
        main(["-c", str(config_file), "--overwrite", "--set", "finetune.val_split=train"])


def test_splits_without_objects_are_refused(config_file: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(config_file.parent / "tree", tree)

    def empty(*image_ids: str) -> None:
        for image_id in image_ids:
            for folder in ("SegmentationClass", "SegmentationObject"):
                path = tree / folder / f"{image_id}.png"
                Image.fromarray(np.zeros_like(np.array(Image.open(path)))).save(path)

    def train(*more: str) -> None:
        open_training_splits(load_config(config_file, [f"dataset.data_dir={tree}", *more]), val_images=1)

    empty("val_00000")
    with pytest.raises(UserError, match="none of the first 1 images of the split val shows an object"):
        train()
    empty(*(path.stem for path in (tree / "JPEGImages").glob("train_*")))
    with pytest.raises(UserError, match="none of the images of the split train shows an object"):
        train()


@pytest.mark.parametrize("class_map", ["{}", '{"car": "vehicle"}'])
def test_classes_that_runs_map_are_said_to_be_learnt_as_they_are(
    class_map: str, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_training_splits(load_config(config_file, [f"dataset.class_map={class_map}"]))
    said = "warning: dataset.class_map: training learns the dataset's own classes" in capsys.readouterr().err
    assert said == (class_map != "{}")


@pytest.mark.parametrize("more, what", [([], "finetune.sam.batch_size"), (["finetune.sam.batch_size=9"], "the split")])
def test_more_processes_than_examples_are_refused(
    more: list[str], what: str, config_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{what}.*: 8 processes cannot share "):
        finetune(load_config(config_file, more), tmp_path / "out.pt", CPU, Session(rank=7, world_size=8))


def test_the_decoder_alone_learns_by_default(config_file: Path) -> None:
    trainer = image_trainer(
        load_config(config_file, ["finetune.sam.train=null", "finetune.sam.lr=0.001"]), Path("unused")
    )
    model, views = trainer.model, trainer.objective.examples
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer.train_step(collate([views[0], views[1]]))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("sam_mask_decoder.") for name in changed)


def test_training_all_leaves_only_the_memory_parts_out() -> None:
    model = build_sam2(str(DEMO_CONFIG), 64)
    trained = {id(parameter) for parameter in parameters_of(model, IMAGE)}
    untouched = {name.split(".")[0] for name, parameter in model.named_parameters() if id(parameter) not in trained}
    assert untouched <= {
        "maskmem_tpos_enc", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial", "mask_downsample",
        "memory_attention", "memory_encoder", "obj_ptr_proj", "obj_ptr_tpos_proj",
    }  # fmt: skip


def test_steps_on_one_picture_lower_its_loss(config_file: Path) -> None:
    steps = ["finetune.sam.steps=12", "finetune.sam.lr=0.001", "finetune.sam.jitter=0"]
    trainer = image_trainer(load_config(config_file, steps), Path("unused"))
    batch = collate([trainer.objective.examples[0]])
    losses = [trainer.train_step(batch) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_views_show_each_object_inside_its_box(config_file: Path) -> None:
    train = VocDataset(load_config(config_file).dataset.data_dir, "train", with_gt_masks=True, with_gt_instances=True)
    views = ImageExamples(train, 128, SamFinetune(boxes_per_image=3, jitter=0.0, view_share=(0.4, 1.0)))
    batch = collate([views[i] for i in range(4)])
    assert batch.pixels.shape == (4, 3, 128, 128)
    assert len(batch.boxes) == len(batch.masks) == len(batch.index) > 0
    for box, mask in zip(batch.boxes.numpy() / 4, batch.masks.numpy()):
        rows, columns = np.nonzero(mask)
        inside = (columns + 1 > box[0]) & (columns < box[2]) & (rows + 1 > box[1]) & (rows < box[3])
        assert inside.all()
        assert mask.sum() > 0.1 * (box[2] - box[0]) * (box[3] - box[1])


def test_jittered_boxes_stay_inside_the_image_and_are_not_empty() -> None:
    rng = np.random.default_rng(0)
    box = np.array([0, 10, 30, 12], np.float32)
    moved = np.array([jitter_box(box, 0.5, (40, 50), rng) for _ in range(200)])
    assert (moved[:, :2] >= 0).all()
    assert (moved[:, 2] <= 50).all()
    assert (moved[:, 3] <= 40).all()
    assert (moved[:, 2:] - moved[:, :2] >= 1).all()
    assert moved.std(0).max() > 5


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(progress / 100) for progress in range(1, 101)]
    assert rates[4] == pytest.approx(1)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_images_that_cannot_be_read_are_named_once_and_left_out(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(config_file.parent / "tree", tree)
    (tree / "JPEGImages" / "train_00001.jpg").write_bytes(b"no picture")
    (tree / "JPEGImages" / "val_00000.jpg").write_bytes(b"no picture")
    views = ImageExamples(
        VocDataset(tree, "train", with_gt_masks=True, with_gt_instances=True), 64, SamFinetune(view_share=(1.0, 1.0))
    )
    batch = collate([views[i] for i in range(3)])
    assert len(batch.pixels) == 2
    assert set(batch.index.tolist()) == {0, 1}
    told = ["--set", f"dataset.data_dir={tree}", "--set", f"finetune.output={tmp_path / 'out.pt'}"]
    assert main(["-c", str(config_file), *told]) == 1
    printed = capsys.readouterr()
    for name in ("train_00001.jpg", "val_00000.jpg"):  # each is met twice: in two epochs, in two validations
        assert printed.err.count(f"{name}: ") == printed.out.count(f"{name}: ") == 1


def test_attention_to_ever_new_numbers_of_objects_is_not_for_cudnn() -> None:
    with autocast(torch.device("cpu")):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()
