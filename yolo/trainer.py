"""Ultralytics' trainer on a folder made by `yolo.training_data`; import after `quiet_ultralytics`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK

from yolo.training_data import NAMES_FILE


class FolderTrainer(DetectionTrainer):
    """Trains on the folder `args.data`, shows a progress bar, and talks to nobody.

    A module-level class, so that ultralytics' multi-GPU processes can make their own.
    """

    bar: tqdm | None = None

    def get_dataset(self) -> dict[str, Any]:
        """What ultralytics wants to know of a dataset; its own way to find out fetches a font."""
        folder = Path(self.args.data)
        names = dict(enumerate(json.loads((folder / NAMES_FILE).read_text("utf-8"))))
        splits = {role: str(folder / "images" / role) for role in ("train", "val")}
        return {"path": folder, **splits, "names": names, "nc": len(names), "channels": 3}

    def final_eval(self) -> None:
        """Nothing: the best epoch's metrics are known, and the checkpoint is stripped by whoever writes the result."""

    def run_callbacks(self, event: str) -> None:
        """Shows progress; ultralytics' own listeners, of which some report to services, are not called."""
        if RANK > 0:
            return
        if event == "on_train_epoch_start":
            self.bar = tqdm(total=len(self.train_loader), desc=f"epoch {self.epoch + 1}/{self.epochs}", unit="batch")
        elif event == "on_train_batch_end" and self.bar is not None:
            losses = {name.removesuffix("_loss"): f"{float(loss):.3f}" for name, loss in self.tloss.items()}
            self.bar.set_postfix(losses, refresh=False)
            self.bar.update()
        elif event == "on_fit_epoch_end" and self.bar is not None:
            map50, map50_95 = (self.metrics[f"metrics/mAP{name}(B)"] for name in ("50", "50-95"))
            self.bar.write(f"epoch {self.epoch + 1}: mAP50 {map50:.4f}, mAP50-95 {map50_95:.4f}")
            self.bar.close()
