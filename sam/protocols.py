"""What a trainer asks of an objective: parameters, examples, a loss and a validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from utils.distributed import Session
from utils.errors import SampleError


class Prompted(Protocol):
    """A batch with boxes: (N, 4), one for each object that is to be learnt; and the images that cannot be used."""

    @property
    def boxes(self) -> torch.Tensor: ...

    @property
    def failures(self) -> tuple[SampleError, ...]: ...


@dataclass(frozen=True)
class ValScore:
    """How good a model is, in [0, 1], and this process's images that could not be used."""

    score: float
    failures: list[SampleError]

    @classmethod
    def from_ious(cls, ious: list[float], failures: list[SampleError]) -> ValScore:
        """The mean IoU of all processes' objects, 0 where there are none."""
        return cls(float(np.mean(ious)) if ious else 0.0, failures)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters, and the share of the learning rate at which they learn."""

    parameters: list[torch.nn.Parameter]
    rate: float = 1.0


class Examples(Protocol):
    """Batches of one example each, drawn anew in each epoch."""

    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Objective(Protocol):
    """What is to be learnt."""

    @property
    def parameters(self) -> list[ParameterGroup]:
        """Those that learn, and how fast."""

    @property
    def examples(self) -> Examples:
        """What they learn from."""

    @property
    def collate(self) -> Callable[[list[Any]], Prompted]:
        """Makes one batch of several."""

    def loss(self, batch: Any) -> torch.Tensor:
        """The mean loss of a batch's objects, a scalar."""

    def validate(self, session: Session) -> ValScore:
        """How good the model is by now; the processes share the work and all get the score."""
