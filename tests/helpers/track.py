"""A model, a clip and the official predictor for the tests of tracking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2 import sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

from models.sam2_build import build_sam2
from models.sam2_video import Propagator, Tracked
from models.segmenter import preprocess

REPOSITORY = Path(__file__).parents[2]

DEMO_CONFIG = str(REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml")

DEMO_WEIGHTS = REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.pt"

CPU = torch.device("cpu")


def write_demo_config(path: Path, image_size: int) -> Path:
    """Writes the config of the demo's SAM2 for smaller images, which take less time; the path."""
    text = Path(DEMO_CONFIG).read_text()
    assert text.count("image_size: 704") == 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("image_size: 704", f"image_size: {image_size}"))
    return path


Masks = dict[int, dict[int, np.ndarray]]
"""(H, W) bool by frame and track."""


def random_model(config: str = DEMO_CONFIG, image_size: int = 64, shift: float = 1.0) -> torch.nn.Module:
    """A video model with random weights whose masks are blobs, which memory changes, and whose objects are all seen."""
    torch.manual_seed(1)
    model = build_sam2(config, image_size, video=True)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 30
        head.layers[-1].bias.data = head.layers[-1].bias.data * 30 - shift
    for layer in model.memory_attention.layers:
        layer.cross_attn_image.out_proj.weight.data *= 4
        layer.cross_attn_image.q_proj.weight.data *= 2
    model.maskmem_tpos_enc.data *= 40
    return visible(model)


def visible(model: torch.nn.Module) -> torch.nn.Module:
    """The model, now sure of every object that it is there."""
    last = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    last.weight.data.zero_()
    last.bias.data.fill_(3)
    return model


def moving(count: int, size: tuple[int, int] = (48, 80)) -> list[np.ndarray]:
    """A clip of two bright squares that move over even patches."""
    patches = np.random.default_rng(0).integers(0, 120, (size[0] // 8, size[1] // 8, 3), np.uint8)
    ground = patches.repeat(8, 0).repeat(8, 1)
    frames = []
    for i in range(count):
        frame = ground.copy()
        frame[6:22, 4 + i % 40 : 20 + i % 40] = 250, 200, 40
        frame[26:42, 60 - i % 40 : 76 - i % 40] = 30, 220, 240
        frames.append(frame)
    return frames


BOXES = {1: np.array([4, 6, 20, 22], np.float32), 2: np.array([60, 26, 76, 42], np.float32)}
"""Of the squares on the first frame."""


def official(
    model: torch.nn.Module, config: str = DEMO_CONFIG, *, non_overlap_masks: bool = False
) -> SAM2VideoPredictor:
    """The official predictor with the weights of a model, as `build_sam2_video_predictor` builds it from a file."""
    node = OmegaConf.load(config).model
    node._target_ = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    node.image_size = model.image_size
    node.binarize_mask_from_pts_for_mem_enc = True
    node.non_overlap_masks = non_overlap_masks
    node.sam_mask_decoder_extra_args = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    predictor = instantiate(node, _recursive_=True).eval()
    predictor.load_state_dict(model.state_dict())
    return predictor


def official_state(
    predictor: SAM2VideoPredictor, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """The official state of a clip whose frames are preprocessed as ours."""
    pixels = preprocess(frames, predictor.image_size, CPU)
    loaded = lambda **_: (pixels, *frames[0].shape[:2])  # noqa: E731
    monkeypatch.setattr(sam2_video_predictor, "load_video_frames", loaded)
    return predictor.init_state("a clip")


def official_masks(
    predictor: SAM2VideoPredictor,
    frames: list[np.ndarray],
    boxes: dict[int, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    start: int = 0,
) -> Masks:
    """What the official predictor makes of boxes on one frame, on it and all that follow."""
    state = official_state(predictor, frames, monkeypatch)
    for track_id, box in boxes.items():
        predictor.add_new_points_or_box(state, start, track_id, box=box)
    return {
        index: dict(zip(track_ids, (logits[:, 0] > 0).numpy()))
        for index, track_ids, logits in predictor.propagate_in_video(state)
    }


class Follower:
    """A propagator with a clip, which it encodes some frames at a time."""

    def __init__(
        self,
        model: torch.nn.Module,
        frames: list[np.ndarray],
        at_once: int = 4,
        precision: torch.dtype = torch.float32,
        non_overlap: bool = False,
    ) -> None:
        self.propagator = Propagator(model, precision, non_overlap=non_overlap)
        self._frames, self._at_once = frames, at_once
        self.propagator.reset(self.size, len(frames))
        self._encoded: dict[int, object] = {}

    @property
    def size(self) -> tuple[int, int]:
        return self._frames[0].shape[:2]

    def step(self, index: int) -> dict[int, Tracked]:
        if index not in self._encoded:
            some = self._frames[index : index + self._at_once]
            self._encoded = dict(enumerate(self.propagator.encode(some), start=index))
        return self.propagator.step(index, self._encoded[index])

    def masks(self, found: dict[int, Tracked]) -> dict[int, np.ndarray]:
        return {track_id: mask.to_full(self.size) for track_id, (mask, _) in found.items()}

    def follow(self, boxes: dict[int, np.ndarray], indices: range) -> Masks:
        """The masks on these frames, on the first of which the boxes are."""
        found = {}
        for index in indices:
            shown = self.step(index)
            found[index] = self.masks(self.propagator.add_boxes(boxes) if index == indices[0] else shown)
        return found


def agreement(ours: Masks, theirs: Masks) -> float:
    """The share of equal pixels over all frames and tracks of a clip, which must be the same."""
    assert {index: set(found) for index, found in ours.items()} == {i: set(found) for i, found in theirs.items()}
    equal = [(ours[i][track] == mask).mean() for i, found in theirs.items() for track, mask in found.items()]
    return float(np.mean(equal))


def coverage(masks: Masks) -> np.ndarray:
    """The share of the frame that each mask covers."""
    return np.array([mask.mean() for found in masks.values() for mask in found.values()])
