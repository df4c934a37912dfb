"""The config's finetune sections: what each key means, its default and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from utils.values import FileOrName, JsonObject, Start, require, within


@dataclass(frozen=True)
class YoloFinetune:
    """How `yolo.finetune` trains the detector.

    Attributes:
        architecture: the model trained from scratch: a yaml file, or a name that ultralytics knows.
        epochs: passes over the training split.
        imgsz: the longer side, in pixels, to which images are scaled.
        batch: images a step.
        seed: of all random choices.
        extra: any other training argument of ultralytics: `{"optimizer": "AdamW", "lr0": 0.002, "patience": 20}`.
    """

    architecture: FileOrName = "yolov8n.yaml"
    epochs: int = 100
    imgsz: int = 640
    batch: int = 16
    seed: int = 0
    extra: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        within(self, "epochs", 1)
        within(self, "imgsz", 32)
        within(self, "batch", 1)
        within(self, "seed", 0)


TrainedParts = Literal["memory", "decoder", "all"]
MaskLoss = Literal["focal", "bce"]


@dataclass(frozen=True)
class SamFinetune:
    """How `sam.finetune` trains SAM2.

    Attributes:
        video: learn to follow objects through clips, instead of finding them in images.
        train: `decoder`, the mask decoder only, or `all`, every part that box prompts use; with `video` either has the
            memory, too, and `memory` is what only video uses, so that results on images stay what they are. Left out,
            the least of these.
        frames: of a clip that are learnt from at a time, with `video`.
        steps: optimizer steps.
        batch_size: views a step.
        image_size: the side of the model's square input in pixels; left out, the model's own.
        boxes_per_image: objects of one view that are prompted, drawn at random where there are more.
        lr: the highest learning rate.
        weight_decay: of AdamW.
        jitter: standard deviation of a box corner's shift, as a share of the box's side.
        view_share: the smallest and the largest share of an image's sides that a view shows; 1 is the whole image.
        mask_loss: `focal` or `bce`; dice loss and score loss are added to either.
        val_every: steps between validations, each of which saves what a continuation needs.
        val_images: images of the validation split that are used, from its start.
        seed: of all random choices.
    """

    video: bool = False
    train: TrainedParts | None = None
    frames: int = 5
    steps: int = 2000
    batch_size: int = 8
    image_size: int | None = None
    boxes_per_image: int = 8
    lr: float = 1e-4
    weight_decay: float = 0.01
    jitter: float = 0.1
    view_share: tuple[float, float] = (0.5, 1.0)
    mask_loss: MaskLoss = "focal"
    val_every: int = 250
    val_images: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.video or self.train != "memory", "train", '"memory" is about video; --video trains it')
        within(self, "frames", 2)
        for name in ("steps", "batch_size", "boxes_per_image", "val_every", "val_images"):
            within(self, name, 1)
        within(self, "image_size", 64)
        require(self.lr > 0, "lr", f"must be above 0, not {self.lr}")
        within(self, "weight_decay", 0)
        within(self, "jitter", 0, 1)
        rises = len(self.view_share) == 2 and 0 < self.view_share[0] <= self.view_share[1] <= 1
        require(rises, "view_share", f"must be two rising numbers above 0 and up to 1, not {list(self.view_share)}")
        within(self, "seed", 0)


@dataclass(frozen=True)
class FinetuneConfig:
    """Finetuning of either model.

    Attributes:
        train_split: the split that is learnt from.
        val_split: the split that chooses the best weights.
        init: the weights to start from, or `scratch`; left out, those of `arch`.
        output: the weight file to be written.
    """

    train_split: str = "train"
    val_split: str = "val"
    init: Start | None = None
    output: Path | None = None
    yolo: YoloFinetune = field(default_factory=YoloFinetune)
    sam: SamFinetune = field(default_factory=SamFinetune)
