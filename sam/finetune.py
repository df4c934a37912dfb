"""Finetunes SAM2 from box prompts on the instance masks of a VOC split.

    python -m sam.finetune -c config.json                                 the mask decoder, from arch.sam_weights
    python -m sam.finetune -c config.json --train all                     every part that box prompts use
    python -m sam.finetune -c config.json --set finetune.init=scratch     from random weights
    torchrun --nproc_per_node=4 -m sam.finetune -c config.json            on four GPUs, which share each batch

A run that was cut off goes on where it was when the same command is given again.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.training import open_training_splits
from datasets.voc import VocDataset
from models.cascade import sam_config_of, sam_files
from models.forward import decode, encode
from models.sam2_loading import build_sam2, load_sam2
from models.segmenter import Segmenter
from sam.examples import Batch, PromptedViews, collate
from sam.losses import prompted_mask_loss
from utils.classes import VOID
from utils.cli import Overriding, configured, finetune_parser, guarded
from utils.config import Config, SamFinetune
from utils.device import choose_device
from utils.distributed import Session, open_session
from utils.errors import SampleError, UserError
from utils.official import REPOSITORY
from utils.writers import atomic_write

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

GRADIENT_NORM = 1.0
BETAS = (0.9, 0.999)
DEFAULT_OUTPUT = REPOSITORY / "sam" / "sam2.1" / "finetuned.pt"


class Trainer:
    """Trains a SAM2 model on prompted views; knows how to go on after a stop.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        views: training examples.
        state_file: where the training state lies between a stop and its continuation.
        session: the processes that share each batch.
    """

    def __init__(
        self, model: SAM2Base, settings: SamFinetune, views: PromptedViews, state_file: Path, session: Session
    ) -> None:
        self.model, self.settings, self.views = model, settings, views
        self.state_file, self.session = state_file, session
        self.trained = trained_parameters(model, settings.train)
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=settings.lr, betas=BETAS, weight_decay=settings.weight_decay
        )
        self.step, self.best = 0, -1.0

    def batches(self, workers: int) -> Iterator[Batch]:
        """This process's part of endless batches, which are shuffled anew each epoch, from the current step on."""
        size = self.settings.batch_size
        per_epoch = max(1, len(self.views) // size)
        while True:
            self.views.epoch, skip = divmod(self.step, per_epoch)
            order = np.random.default_rng([self.settings.seed, self.views.epoch]).permutation(len(self.views)).tolist()
            shares = [list(self.session.share(order[i * size : (i + 1) * size])) for i in range(skip, per_epoch)]
            yield from DataLoader(self.views, batch_sampler=shares, collate_fn=collate, num_workers=workers)

    def train_step(self, batch: Batch) -> float:
        """One step of the optimizer; returns this process's loss. A batch without objects changes nothing."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * schedule(self.step / self.settings.steps)
        self.optimizer.zero_grad()
        objects, loss = len(batch.boxes), torch.zeros(())
        if objects:
            loss = self._loss(batch)
            loss.backward()
        if self.session.mean_gradients(self.trained, objects):
            torch.nn.utils.clip_grad_norm_(self.trained, GRADIENT_NORM)
            self.optimizer.step()
        return loss.item()

    def _loss(self, batch: Batch) -> torch.Tensor:
        model, device = self.model, self.model.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            with torch.set_grad_enabled(self.settings.train == "all"):
                features = encode(model, batch.pixels.to(device))
            logits, scores = decode(model, features, batch.view_index.to(device), batch.boxes.to(device))
        masks, weights = batch.masks.to(device), batch.weights.to(device)
        return prompted_mask_loss(logits.float(), scores.float(), masks, weights, self.settings.mask_loss)

    def save_state(self) -> None:
        """Writes all that a continuation needs."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        atomic_write(self.state_file, serialized(state))

    def resume(self) -> bool:
        """Takes up the state of an earlier run with the same settings; False where there is none.

        Raises:
            UserError: the state belongs to other settings.
        """
        if not self.state_file.is_file():
            return False
        state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise UserError(f"{self.state_file}: an unfinished run with other settings; go on with those, or delete it")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        return True


def trained_parameters(model: SAM2Base, train: str) -> list[torch.nn.Parameter]:
    """The parameters that learn: the mask decoder's, or all that a box prompt on an image reaches."""
    parts = [model.sam_mask_decoder]
    if train == "all":
        parts += [model.image_encoder, model.sam_prompt_encoder]
    trained = [parameter for part in parts for parameter in part.parameters()]
    return [*trained, model.no_mem_embed] if train == "all" else trained


def schedule(progress: float, warmup: float = 0.05, floor: float = 0.01) -> float:
    """Share of the peak learning rate at a share of the run: a linear rise, then half a cosine down to `floor`."""
    if progress < warmup:
        return progress / warmup
    return floor + (1 - floor) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def serialized(state: object) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_weights(model: SAM2Base, path: Path) -> None:
    """Writes `{"model": state_dict}` in half precision, the form of the official checkpoints."""
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    atomic_write(path, serialized({"model": state}))


def validate(segmenter: Segmenter, dataset: VocDataset, limit: int, session: Session) -> float:
    """Mean IoU, at image size, of the masks of the true boxes of the first `limit` images; void is not counted."""
    ious: list[float] = []
    for index in session.share(range(min(limit, len(dataset)))):
        try:
            image, objects = dataset.load(index).image, dataset.instances(index)
        except SampleError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        counted = dataset.target(index) != VOID
        (found,) = segmenter([image], [objects.detections])
        for ours, true in zip(found.masks, objects.masks):
            predicted, actual = ours.full(found.size) & counted, true.full(found.size)
            ious.append((predicted & actual).sum() / (predicted | actual).sum())
    ious = session.gather(ious)
    return float(np.mean(ious)) if ious else 0.0


def finetune(config: Config, output: Path, device: torch.device, session: Session, *, trust: bool = False) -> float:
    """Runs the training that `finetune` of the config describes, writes the best weights, returns their mean IoU."""
    settings = config.finetune.sam
    train, val = open_training_splits(config)
    if settings.batch_size < session.world_size:
        raise UserError(
            f"finetune.sam.batch_size: {session.world_size} processes cannot share {settings.batch_size} views"
        )
    model = initial_model(config, device, trust=trust)
    views = PromptedViews(
        train,
        model.image_size,
        max_boxes=settings.boxes_per_image,
        jitter=settings.jitter,
        view_share=settings.view_share,
        seed=settings.seed,
    )
    trainer = Trainer(model, settings, views, state_file_of(output), session)
    if trainer.resume() and session.leads:
        print(f"going on at step {trainer.step} of {settings.steps}")
    session.wait()  # nobody may write the state before all have read it
    segmenter = Segmenter(model, torch.float32, config.segmenter.chunk_mb * 2**20)
    batches = trainer.batches(config.dataloader.num_workers)
    progress = tqdm(total=settings.steps, initial=trainer.step, unit="step", disable=not session.leads)
    while trainer.step < settings.steps:
        loss = trainer.train_step(next(batches))
        progress.update()
        progress.set_postfix(loss=f"{loss:.3f}", best_iou=f"{trainer.best:.4f}", refresh=False)
        if trainer.step % settings.val_every == 0 or trainer.step == settings.steps:
            score = validate(segmenter, val, settings.val_images, session)
            improved, trainer.best = score > trainer.best, max(score, trainer.best)
            if session.leads:
                progress.write(f"step {trainer.step}: mean IoU {score:.4f}")
                if improved:
                    write_weights(model, output)
                trainer.save_state()
    progress.close()
    if session.leads:
        trainer.state_file.unlink()
    return trainer.best


def state_file_of(output: Path) -> Path:
    """Where the state of a training lies until it is finished."""
    return output.with_suffix(".training.pt")


def initial_model(config: Config, device: torch.device, *, trust: bool = False) -> SAM2Base:
    """The model that training starts from: `finetune.init`, else `arch.sam_weights`, or random weights."""
    settings, init = config.finetune.sam, config.finetune.init
    if init == "scratch":
        torch.manual_seed(settings.seed)
        return build_sam2(sam_config_of(config.arch), settings.image_size).to(device)
    arch = replace(config.arch, sam_weights=Path(init)) if init else config.arch
    return load_sam2(*sam_files(arch), device, settings.image_size, trust=trust)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains; the exit code."""
    parser = finetune_parser(__doc__)
    parser.add_argument("--train", action=Overriding, key="finetune.sam.train", help="decoder or all")
    given = parser.parse_args(argv)
    config = configured(given)
    unfinished = state_file_of(config.finetune.output or DEFAULT_OUTPUT).is_file()
    output = config.finetune.destination(DEFAULT_OUTPUT, overwrite=given.overwrite or unfinished)
    with open_session() as session:
        best = finetune(config, output, choose_device(given.device, session), session, trust=given.trust_weights)
    if session.leads:
        print(f"{output}: mean IoU {best:.4f} on the split {config.finetune.val_split}")
        print(f"use it:  python yolo_sam.py -c {given.config} --set arch.sam_weights={output}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
