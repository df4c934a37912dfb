"""Finetuning SAM2's memory on painted clips, in miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from datasets.scenes import main as paint
from datasets.voc import VocDataset
from models.sam2_build import build_sam2, load_sam2
from models.sam2_video import Propagator
from sam.examples import ClipExamples, collate, mask_of, sample_frames, soft_mask
from sam.finetune import main
from sam.losses import NUM_FRAMES, track
from sam.objectives import BACKBONE_LR_SCALE, MEMORY, ClipObjective
from sam.trainer import Trainer
from utils.config import SamFinetune, load_config
from utils.distributed import Session
from utils.errors import UserError

DEMO_CONFIG = Path(__file__).parents[2] / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml"
DEMO_WEIGHTS = DEMO_CONFIG.with_suffix(".pt")
SIDE = 128


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config for three steps from scratch on two painted clips of four frames."""
    folder = tmp_path_factory.mktemp("clips")
    for split, count in (("train", 2), ("val", 1)):
        arguments = ["--seed", "7", "--count", "0", "--clips", str(count), "--frames", "4", "--split", split]
        paint([*arguments, "--out", str(folder / "tree"), "--plain"])
    sam = {"steps": 3, "batch_size": 2, "frames": 3, "image_size": SIDE, "val_every": 2, "mask_loss": "bce"}
    settings = {
        "arch": {"sam_config": str(DEMO_CONFIG), "sam_weights": "start.pt"},
        "dataset": {"data_dir": "tree", "classes": "tree/class_names.txt"},
        "dataloader": {"num_workers": 0},
        "finetune": {"init": "scratch", "output": "out.pt", "sam": sam},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def clips(config_file: Path) -> VocDataset:
    return VocDataset(config_file.parent / "tree", "train", with_gt_masks=True, with_gt_instances=True, by_clips=True)


@pytest.mark.slow
def test_only_the_memory_is_trained_so_image_masks_stay_the_same(config_file: Path) -> None:
    assert main(["-c", str(config_file), "--video"]) == 0
    torch.manual_seed(0)
    before = build_sam2(str(DEMO_CONFIG), SIDE).state_dict()
    trained = config_file.parent / "out.last.pt"  # three steps need not raise the score: out.pt may hold the start
    trained = trained if trained.is_file() else trained.with_name("out.pt")
    after = load_sam2(str(DEMO_CONFIG), trained, torch.device("cpu"), SIDE).state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name].half().float())}
    assert {name.split(".")[0] for name in changed} >= {"memory_attention", "memory_encoder", "maskmem_tpos_enc"}
    assert all(name.startswith(MEMORY) for name in changed)


def test_training_the_memory_on_images_is_refused(config_file: Path) -> None:
    with pytest.raises(UserError, match=r"--train.*--video trains it"):
        main(["-c", str(config_file), "--train", "memory", "--overwrite"])


@pytest.mark.slow
def test_steps_on_one_clip_lower_its_loss(config_file: Path, clips: VocDataset) -> None:
    wanted = ["finetune.sam.steps=12", "finetune.sam.lr=0.001", "finetune.sam.video=true"]
    settings = load_config(config_file, wanted).finetune.sam
    torch.manual_seed(0)
    model = build_sam2(str(DEMO_CONFIG), SIDE, video=True)
    objective = ClipObjective(model, settings, clips, clips)
    trainer = Trainer(model, settings, objective, {}, Path("unused"), Session())
    batch = collate([objective.examples[0]])
    losses = [trainer.train_step(batch) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_decoder_trained_on_clips_is_also_trained_on_the_box_of_each_frame(
    config_file: Path, clips: VocDataset
) -> None:
    wanted = ["finetune.sam.video=true", "finetune.sam.train=decoder"]
    model = build_sam2(str(DEMO_CONFIG), SIDE, video=True)
    objective = ClipObjective(model, load_config(config_file, wanted).finetune.sam, clips, clips)
    assert [group["rate"] for group in objective.parameters] == [1.0, BACKBONE_LR_SCALE]
    learning = [id(each) for group in objective.parameters for each in group["params"]]
    assert len(learning) == len(set(learning))
    assert {id(each) for each in model.sam_mask_decoder.parameters()} < set(learning)
    batch = collate([objective.examples[0]])
    loss = objective.loss(batch)
    loss.backward()
    # The masks of boxes alone come from the first token.
    token = model.sam_mask_decoder.output_hypernetworks_mlps[0]
    assert all(each.grad is not None and each.grad.any() for each in token.parameters())
    # A frame without a box of its own is learnt from by following only.
    batch.boxes[:, 1:] = 0
    assert objective.loss(batch) != loss


@pytest.mark.slow
@torch.inference_mode()
def test_tracking_in_training_equals_the_official_predictor(clips: VocDataset) -> None:
    examples = ClipExamples(clips, 352, SamFinetune(jitter=0.0, view_share=(1.0, 1.0), frames=4))
    batch = collate([examples[0], examples[1]])
    model = load_sam2(str(DEMO_CONFIG), DEMO_WEIGHTS, torch.device("cpu"), 352, video=True)
    found = track(model, batch, model.forward_image(batch.pixels.flatten(0, 1)))
    learnt = [logits[torch.arange(len(batch.boxes)), ious.argmax(1)] for logits, ious, _ in found]
    propagator = Propagator(model, torch.float32)
    for clip, pixels in enumerate(batch.pixels):
        members = torch.nonzero(batch.index == clip).flatten().tolist()
        propagator.reset((352, 352), NUM_FRAMES)
        for t, frame in enumerate(pixels):
            official = propagator.step(t, model.forward_image(frame[None]))
            if t == 0:
                official = propagator.add_boxes({n: batch.boxes[n, 0].numpy() for n in members})
            for n in members:
                full = F.interpolate(learnt[t][None, n : n + 1], (352, 352), mode="bilinear")[0, 0] > 0
                # The official predictor keeps its memory in bf16.
                assert (full.numpy() == official[n][0].to_full((352, 352))).mean() > 0.998


def test_sampled_frames_run_both_ways_and_stay_in_their_clip() -> None:
    rng = np.random.default_rng(0)
    drawn = {tuple(sample_frames(8, 3, rng)) for _ in range(500)}
    assert {(0, 1, 2), (7, 6, 5), (0, 2, 4), (7, 5, 3)} <= drawn
    assert all(len(set(np.diff(places))) == 1 and set(places) <= set(range(8)) for places in drawn)
    assert tuple(sample_frames(2, 4, rng)) in {(0, 1, 1, 1), (1, 1, 1, 0)}


def test_a_row_of_the_batch_is_one_object_through_its_frames(clips: VocDataset) -> None:
    places = clips.clips["train_clip_000"]
    examples = ClipExamples(clips, SIDE, SamFinetune(jitter=0.0, view_share=(1.0, 1.0), frames=3))
    batch, cells = collate([examples[0]]), SIDE // 4
    assert batch.pixels.shape == (1, 3, 3, SIDE, SIDE)
    assert batch.masks.shape == batch.weights.shape == (len(batch.boxes), 3, cells, cells)
    objects = [clips.load(place).gt_instances for place in places]
    numbers = set(np.concatenate([each.track_ids for each in objects]).tolist())
    assert len(numbers) > 1
    for boxes, masks in zip(batch.boxes.numpy() / 4, batch.masks.numpy()):
        for box, mask in zip(boxes, masks):
            rows, columns = np.nonzero(mask)
            assert ((columns + 1 > box[0]) & (columns < box[2]) & (rows + 1 > box[1]) & (rows < box[3])).all()
        assert any(
            {mask.tobytes() for mask in masks}
            <= {soft_mask(mask_of(each, number)[:, ::turn], cells).tobytes() for each in objects for turn in (1, -1)}
            for number in numbers
        )


def test_clips_without_object_ids_are_refused(config_file: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(config_file.parent / "tree", tree)
    (tree / "SegmentationObject" / "train_clip_000" / "000002.png").unlink()
    with pytest.raises(UserError, match=r"SegmentationObject.*train_clip_000/000002"):
        main(["-c", str(config_file), "--video", "--overwrite", "--set", f"dataset.data_dir={tree}"])


def test_clips_with_frames_of_several_sizes_are_refused(config_file: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(config_file.parent / "tree", tree)
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png")):
        path = tree / folder / "train_clip_000" / f"000002.{suffix}"
        with Image.open(path) as picture:
            picture.crop((0, 0, 320, 360)).save(path)
    with pytest.raises(UserError, match=r"000002\.jpg: the frame has 320x360 pixels, its clip's first one 640x360"):
        main(["-c", str(config_file), "--video", "--overwrite", "--set", f"dataset.data_dir={tree}"])
