"""Ultralytics' trainer for a folder that `yolo.training_data` wrote; import after `quiet_ultralytics`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK

from utils.io.terminal import progress_bar
from yolo.training_data import NAMES_FILE


class FolderTrainer(DetectionTrainer):
    """Trains on the folder `args.data` and shows a progress bar, without network access.

    It is a module-level class because ultralytics' multi-GPU processes import it by name.
    """

    bar: tqdm | None = None

    @property
    def start(self) -> Path:
        """Return the checkpoint of the model before its first step, laid out as that of the best epoch is."""
        return self.last.with_name("start.pt")

    def get_dataset(self) -> dict[str, Any]:
        """Return ultralytics' description of the dataset; its own method would download a font."""
        folder = Path(self.args.data)
        names = dict(enumerate(json.loads((folder / NAMES_FILE).read_text("utf-8"))))
        splits = {role: str(folder / "images" / role) for role in ("train", "val")}
        return {"path": folder, **splits, "names": names, "nc": len(names), "channels": 3}

    def final_eval(self) -> None:
        """Do nothing: the metrics of the best epoch are known, and `yolo.finetune` strips the checkpoint."""

    def score_start(self) -> None:
        """Validate the model before its first step, in all processes; write it as `start`, and a row of epoch 0."""
        self.epoch = self.start_epoch - 1
        with torch.no_grad():  # the validator wants to know the names of the losses
            batch = self.preprocess_batch(next(iter(self.test_loader)))
            self.loss_items = self.ema.ema.loss(batch)[1]
        metrics = self.validator(self)
        if metrics is None:
            return
        self.fitness = metrics.pop("fitness")
        self.metrics = metrics
        self.loss_names = tuple(self.loss_items)
        losses = dict.fromkeys(self.label_loss_items(), float("nan"))  # of training, which has not begun
        rates = {f"lr/pg{number}": group["lr"] for number, group in enumerate(self.optimizer.param_groups)}
        self.save_metrics({**losses, **metrics, **rates})
        self.save_model()
        self.last.rename(self.start)
        tqdm.write(f"start: {summary(metrics)}")

    def run_callbacks(self, event: str) -> None:
        """Show progress instead of calling ultralytics' listeners, some of which report to online services."""
        if event == "on_train_start":
            self.score_start()
        if RANK > 0:
            return
        if event == "on_train_epoch_start":
            epoch = f"epoch {self.epoch + 1}/{self.epochs}"
            self.bar = progress_bar(total=len(self.train_loader), desc=epoch, unit="batch")
        elif event == "on_train_batch_end" and self.bar is not None:
            losses = {name.removesuffix("_loss"): f"{float(loss):.3f}" for name, loss in self.tloss.items()}
            self.bar.set_postfix(losses, refresh=False)
            self.bar.update()
        elif event == "on_fit_epoch_end" and self.bar is not None:
            self.bar.write(f"epoch {self.epoch + 1}: {summary(self.metrics)}")
            self.bar.close()


def summary(metrics: Mapping[str, float]) -> str:
    """Describe the metrics of a validation."""
    return ", ".join(f"{name} {metrics[f'metrics/{name}(B)']:.4f}" for name in ("mAP50", "mAP50-95"))
