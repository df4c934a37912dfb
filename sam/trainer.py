"""The training loop of SAM2: optimizer, validation, and a state from which an interrupted training is resumed."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from sam.examples import Batch, Examples, collate
from utils.config import SamFinetune
from utils.distributed import Session
from utils.errors import SampleError, UserError, first_line
from utils.io.terminal import progress_bar
from utils.io.writers import atomic_write

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

GRADIENT_NORM = 1.0
BETAS = (0.9, 0.999)
WARMUP, FLOOR = 0.05, 0.01


class Objective(Protocol):
    """A task to train for.

    Attributes:
        parameters: to train, in groups as torch's optimizers take them: `params`, and `rate`, a factor of the learning
            rate that applies to them.
        examples: to train on.
    """

    parameters: list[dict[str, Any]]

    @property
    def examples(self) -> Examples: ...

    def loss(self, batch: Batch) -> torch.Tensor:
        """Compute the mean loss of a batch's objects, a scalar."""

    def validate(self, session: Session) -> tuple[float, list[SampleError]]:
        """Score the model; the processes share the work.

        Returns:
            a score in [0, 1], the same in all processes, and this process's images that could not be used.
        """


class Trainer:
    """Trains a model towards an objective.

    Args:
        model: the model, on its device.
        settings: `finetune.sam`.
        objective: what the model learns.
        resume_key: what else defines the training, by config key; a state with other values is not resumed.
        state_file: the training state of an interrupted run.
        session: the processes that share each batch.

    Attributes:
        step: number of steps taken.
        losses: the mean loss of each step that had objects, by its number from 1; complete in the main process, and
            up to the last validation.
        scores: the score of each validation in [0, 1], by the number of steps before it; that of step 0 is the start's.
        failures: this process's images that could not be used, by image or mask file.
    """

    def __init__(
        self,
        model: SAM2Base,
        settings: SamFinetune,
        objective: Objective,
        resume_key: Mapping[str, str],
        state_file: Path,
        session: Session,
    ) -> None:
        self.model, self.settings, self.objective = model, settings, objective
        self.state_file, self.session = state_file, session
        self.parameters = [parameter for group in objective.parameters for parameter in group["params"]]
        model.requires_grad_(False)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            objective.parameters, lr=settings.lr, betas=BETAS, weight_decay=settings.weight_decay
        )
        self.step = 0
        self.losses: dict[int, float] = {}
        self.scores: dict[int, float] = {}
        self.failures: dict[Path, SampleError] = {}
        own = {f"finetune.sam.{name}": str(value) for name, value in asdict(settings).items()}
        self._resume_key = {**resume_key, **own}

    def batches(self, workers: int) -> Iterator[Batch]:
        """Yield this process's share of each batch, from the current step on, without end; shuffle each epoch anew."""
        size, examples = self.settings.batch_size, self.objective.examples
        per_epoch = max(1, len(examples) // size)
        while True:
            examples.epoch, skip = divmod(self.step, per_epoch)
            order = np.random.default_rng([self.settings.seed, examples.epoch]).permutation(len(examples)).tolist()
            shares = [list(self.session.own_share(order[i * size : (i + 1) * size])) for i in range(skip, per_epoch)]
            yield from DataLoader(examples, batch_sampler=shares, collate_fn=collate, num_workers=workers)

    def train_step(self, batch: Batch) -> float:
        """Take one optimizer step and return this process's loss; a batch without objects changes nothing."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * group["rate"] * schedule(self.step / self.settings.steps)
        self.optimizer.zero_grad()
        loss = torch.zeros(())
        if len(batch):
            loss = self.objective.loss(batch)
            loss.backward()
        if self.session.mean_gradients(self.parameters, len(batch)):
            torch.nn.utils.clip_grad_norm_(self.parameters, GRADIENT_NORM)
            self.optimizer.step()
        return loss.item()

    def train(self, workers: int, validated: Callable[[bool], None]) -> dict[int, float]:
        """Score the start, take all remaining steps and return the scores.

        Args:
            workers: number of processes that prepare batches.
            validated: called in the main process after each validation, and told whether it is the best so far.
        """
        settings, is_main, batches = self.settings, self.session.is_main, self.batches(workers)
        losses: dict[int, float] = {}
        progress = progress_bar(total=settings.steps, initial=self.step, unit="step", disable=not is_main)
        if not self.scores:
            self._validate(progress, losses, validated)
        while self.step < settings.steps:
            batch = next(batches)
            self._report(batch.failures)
            loss = self.train_step(batch)
            if len(batch):
                losses[self.step] = loss
            progress.update()
            best = max(self.scores.values())
            progress.set_postfix(loss=f"{loss:.3f}", best_iou=f"{best:.4f}", refresh=False)
            if self.step % settings.val_every == 0 or self.step == settings.steps:
                self._validate(progress, losses, validated)
                losses.clear()
        progress.close()
        if is_main:
            self.state_file.unlink()
        return self.scores

    def _validate(self, progress: tqdm, losses: Mapping[int, float], validated: Callable[[bool], None]) -> None:
        """Score the model, and save the state with this process's losses since the last validation."""
        score, failures = self.objective.validate(self.session)
        release_inference_tensors(self.model)
        self._report(failures)
        shares = self.session.gather([dict(losses)])
        for step in sorted({step for share in shares for step in share}):
            self.losses[step] = float(np.mean([share[step] for share in shares if step in share]))
        better = score > max(self.scores.values(), default=-math.inf)
        self.scores[self.step] = score
        if self.session.is_main:
            progress.write(f"step {self.step}: mean IoU {score:.4f}")
            validated(better)
            self.save_state()

    def _report(self, failures: Iterable[SampleError]) -> None:
        """Report each unusable image once."""
        for failure in failures:
            if self.failures.setdefault(failure.path, failure) is failure:
                tqdm.write(f"left out: {failure}", sys.stderr)

    def save_state(self) -> None:
        """Write everything that `resume` needs."""
        state = {
            "origin": self._resume_key,
            "step": self.step,
            "losses": self.losses,
            "scores": self.scores,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        atomic_write(self.state_file, serialized(state))

    def resume(self) -> bool:
        """Load the state of an interrupted run, if there is one; return whether there was.

        Raises:
            UserError: the state belongs to another training, or cannot be read.
        """
        if not self.state_file.is_file():
            return False
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
            step, losses, scores = state["step"], state["losses"], state["scores"]
        except Exception as error:  # torch raises almost anything on a broken file
            raise UserError(f"{self.state_file}: cannot be loaded: {first_line(error)}; delete the file") from error
        theirs = state.get("origin", {})
        if other := [name for name, value in self._resume_key.items() if theirs.get(name) != value]:
            reason = f"an unfinished training with another {', '.join(other)}; go on with that one, or delete the file"
            raise UserError(f"{self.state_file}: {reason}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses, self.scores = step, losses, scores
        return True


def release_inference_tensors(model: torch.nn.Module) -> None:
    """Replace what modules have cached in inference mode; autograd refuses such tensors, as of rotary encodings."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.is_inference():
                setattr(module, name, value.clone())
            elif isinstance(value, dict) and name == "cache":  # of SAM2's position encodings
                value.clear()


def schedule(progress: float) -> float:
    """Compute the factor of the learning rate at a progress in [0, 1]: linear warmup, then cosine decay to FLOOR."""
    if progress < WARMUP:
        return progress / WARMUP
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP))) / 2


def serialized(state: object) -> bytes:
    """Return the bytes that `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_weights(model: SAM2Base, path: Path) -> None:
    """Write `{"model": state_dict}` in half precision, laid out as the official checkpoints are."""
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    atomic_write(path, serialized({"model": state}))


def write_curve(losses: Mapping[int, float], scores: Mapping[int, float], table: Path, picture: Path) -> None:
    """Write the losses and scores of a training, by step, as a CSV file with step, loss and score, and as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(step, losses.get(step, ""), scores.get(step, "")) for step in sorted({*losses, *scores})]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("step", "loss", "score"), *rows])
    atomic_write(table, text.getvalue().encode())
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, sharex=True)
    above.plot([*scores], [*scores.values()], marker="o")
    above.axhline(scores[0], linestyle=":", color="gray", label="start")
    above.legend()
    above.set_ylabel("mean IoU")
    below.plot([*losses], [*losses.values()], linewidth=0.8)
    below.set(xlabel="step", ylabel="loss")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    atomic_write(picture, drawn.getvalue())
