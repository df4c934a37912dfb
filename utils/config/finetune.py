"""The config's finetune sections: each key with its type, its limits, its default and its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictStr
from pydantic.dataclasses import dataclass

from utils.config.values import SECTION, Count, FileOrName, Natural, Pixels, PositiveOrZero, Share, WeightsOrScratch

MaskLoss = Literal["focal", "bce"]


def _two_rising(value: Any) -> Any:
    numbers = isinstance(value, (list, tuple)) and all(type(each) in (int, float) for each in value)
    if numbers and not (len(value) == 2 and 0 < value[0] <= value[1] <= 1):
        raise ValueError(f"must be two rising numbers above 0 and up to 1, not {[*value]}")
    return value


def _checkpoint(value: Any) -> Any:
    """Refuse names by which a checkpoint would be taken for an export, or replaced by the curve beside it."""
    if isinstance(value, Path) and value.suffix not in (".pt", ".pth"):
        raise ValueError(f"{value.name} must end in .pt or .pth: training writes a checkpoint")
    return value


@dataclass(frozen=True, config=SECTION)
class YoloFinetune:
    """How `yolo.finetune` trains the detector."""

    architecture: FileOrName = "yolov8n.yaml"
    """The model trained from scratch: a yaml file, or a name that ultralytics knows."""
    epochs: Count = 100
    """Passes over the training split."""
    imgsz: Pixels = 640
    """Longer side, in pixels, to which images are scaled."""
    batch: Count = 16
    """Images per step."""
    seed: Natural = 0
    """Random seed."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Any other training argument of ultralytics: `{"optimizer": "AdamW", "lr0": 0.002, "patience": 20}`."""


@dataclass(frozen=True, config=SECTION)
class SamFinetune:
    """How `sam.finetune` trains SAM2."""

    video: StrictBool = False
    """Learn to follow objects through clips, instead of finding them in images."""
    train: Literal["memory", "decoder", "all"] | None = None
    """What is trained. `decoder`: the mask decoder only. `all`: every part that box prompts use. With `video`, either
    includes the memory, and `memory` is what only video uses, so that results on images stay what they are. Left out,
    the least of these."""
    frames: Annotated[int, Field(strict=True, ge=2)] = 5
    """Frames of a clip that are learnt from at a time, with `video`."""
    steps: Count = 2000
    """Optimizer steps."""
    batch_size: Count = 8
    """Views per step."""
    image_size: Annotated[int | None, Field(strict=True, ge=64)] = None
    """Side of the model's square input in pixels; left out, the model's own."""
    boxes_per_image: Count = 8
    """Objects of one view that are prompted, drawn at random where there are more."""
    lr: Annotated[float, Field(strict=True, gt=0)] = 1e-4
    """The highest learning rate."""
    weight_decay: PositiveOrZero = 0.01
    """Weight decay of AdamW."""
    jitter: Share = 0.1
    """Standard deviation of a box corner's shift, as a share of the box's side."""
    view_share: Annotated[tuple[StrictFloat, StrictFloat], BeforeValidator(_two_rising)] = (0.5, 1.0)
    """The smallest and the largest share of an image's sides that a view shows; 1 is the whole image."""
    mask_loss: MaskLoss = "focal"
    """`focal` or `bce`; dice loss and score loss are added to either."""
    val_every: Count = 250
    """Steps between validations, each of which saves what a continuation needs."""
    val_images: Count = 200
    """Images of the validation split that are used, from its start."""
    seed: Natural = 0
    """Random seed."""

    def __post_init__(self) -> None:
        if self.train == "memory" and not self.video:
            raise ValueError('train: "memory" is about video; --video trains it')


@dataclass(frozen=True, config=SECTION)
class FinetuneConfig:
    """Finetuning of either model."""

    train_split: StrictStr = "train"
    """The split that is learnt from."""
    val_split: StrictStr = "val"
    """The split that chooses the best weights."""
    init: WeightsOrScratch = None
    """The weights to start from, or `scratch`; left out, those of `arch`."""
    output: Annotated[Path | None, BeforeValidator(_checkpoint)] = None
    """The weight file to be written; its name ends in `.pt` or `.pth`."""
    yolo: YoloFinetune = Field(default_factory=YoloFinetune)
    sam: SamFinetune = Field(default_factory=SamFinetune)
