"""Trains a SAM2 model towards an objective; knows how to go on after a stop."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from sam.protocols import Objective, Prompted
from utils.config import SamFinetune
from utils.distributed import Session
from utils.errors import SampleError, UserError, first_line
from utils.io.writers import atomic_write

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

GRADIENT_NORM = 1.0
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class BestScore:
    """The best validation so far: how many steps led to it, and its score in [0, 1]."""

    step: int = 0
    score: float = -1.0


class Trainer:
    """Takes the steps of a training.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        objective: what the model learns.
        origin: what else the training is made of, by the config's keys; with anything else it is another training.
        state_file: where the training state lies between a stop and its continuation.
        session: the processes that share each batch.

    Attributes:
        step: how many steps were taken.
        best: the best validation.
        failures: this process's images that could not be used, by their file, or that of the mask.
    """

    def __init__(
        self,
        model: SAM2Base,
        settings: SamFinetune,
        objective: Objective,
        origin: Mapping[str, str],
        state_file: Path,
        session: Session,
    ) -> None:
        self.model, self.settings, self.objective = model, settings, objective
        self.state_file, self.session = state_file, session
        self.parameters = [parameter for group in objective.parameters for parameter in group.parameters]
        model.requires_grad_(False)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        groups = [{"params": group.parameters, "rate": group.rate} for group in objective.parameters]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=BETAS, weight_decay=settings.weight_decay)
        self.step, self.best = 0, BestScore()
        self.failures: dict[Path, SampleError] = {}
        own = {f"finetune.sam.{name}": str(value) for name, value in asdict(settings).items()}
        self._origin = {**origin, **own}

    def batches(self, workers: int) -> Iterator[Prompted]:
        """This process's part of endless batches, which are shuffled anew each epoch, from the current step on."""
        size, examples = self.settings.batch_size, self.objective.examples
        per_epoch = max(1, len(examples) // size)
        while True:
            examples.epoch, skip = divmod(self.step, per_epoch)
            order = np.random.default_rng([self.settings.seed, examples.epoch]).permutation(len(examples)).tolist()
            shares = [list(self.session.shard(order[i * size : (i + 1) * size])) for i in range(skip, per_epoch)]
            yield from DataLoader(
                examples,  # type: ignore[arg-type]  # a map-style dataset in all but its base class
                batch_sampler=shares,
                collate_fn=self.objective.collate,
                num_workers=workers,
            )

    def train_step(self, batch: Prompted) -> float:
        """One step of the optimizer; returns this process's loss. A batch without objects changes nothing."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * group["rate"] * schedule(self.step / self.settings.steps)
        self.optimizer.zero_grad()
        objects, loss = len(batch.boxes), torch.zeros(())
        if objects:
            loss = self.objective.loss(batch)
            loss.backward()
        if self.session.mean_gradients(self.parameters, objects):
            torch.nn.utils.clip_grad_norm_(self.parameters, GRADIENT_NORM)
            self.optimizer.step()
        return loss.item()

    def train(self, workers: int, improved: Callable[[], None]) -> BestScore:
        """Takes all steps that are left; the best of the validations.

        Args:
            workers: processes that prepare batches.
            improved: called in the first process after a validation that is better than all before it.
        """
        settings, is_main, batches = self.settings, self.session.is_main, self.batches(workers)
        progress = tqdm(total=settings.steps, initial=self.step, unit="step", disable=not is_main)
        while self.step < settings.steps:
            batch = next(batches)
            self._note(batch.failures)
            loss = self.train_step(batch)
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}", best_iou=f"{self.best.score:.4f}", refresh=False)
            if self.step % settings.val_every == 0 or self.step == settings.steps:
                found = self.objective.validate(self.session)
                self._note(found.failures)
                better = found.score > self.best.score
                self.best = BestScore(self.step, found.score) if better else self.best
                if is_main:
                    progress.write(f"step {self.step}: mean IoU {found.score:.4f}")
                    if better:
                        improved()
                    self.save_state()
        progress.close()
        if is_main:
            self.state_file.unlink()
        return self.best

    def _note(self, failures: Iterable[SampleError]) -> None:
        """Says once of each image that it cannot be used."""
        for failure in failures:
            if self.failures.setdefault(failure.path, failure) is failure:
                tqdm.write(f"left out: {failure}", sys.stderr)

    def save_state(self) -> None:
        """Writes all that a continuation needs."""
        state = {
            "origin": self._origin,
            "step": self.step,
            "best": asdict(self.best),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        atomic_write(self.state_file, serialized(state))

    def resume(self) -> bool:
        """Takes up the state of an earlier run of the same training; False where there is none.

        Raises:
            UserError: the state is that of another training, or cannot be read.
        """
        if not self.state_file.is_file():
            return False
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises almost anything on a broken file
            raise UserError(f"{self.state_file}: cannot be loaded: {first_line(error)}; delete the file") from error
        theirs = state.get("origin", {})
        if other := [name for name, value in self._origin.items() if theirs.get(name) != value]:
            reason = f"an unfinished training with another {', '.join(other)}; go on with that one, or delete the file"
            raise UserError(f"{self.state_file}: {reason}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], BestScore(**state["best"])
        return True


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
