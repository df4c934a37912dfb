"""Ultralytics' trainer for a folder that `yolo.training_data` wrote; import after `quiet_ultralytics`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK

from yolo.training_data import NAMES_FILE


class FolderTrainer(DetectionTrainer):
    """Trains on the folder `args.data` and shows a progress bar, without network access.

    It is a module-level class because ultralytics' multi-GPU processes import it by name.
    """

    bar: tqdm | None = None

    def get_dataset(self) -> dict[str, Any]:
        """Return ultralytics' description of the dataset; its own method would download a font."""
        folder = Path(self.args.data)
        names = dict(enumerate(json.loads((folder / NAMES_FILE).read_text("utf-8"))))
        splits = {role: str(folder / "images" / role) for role in ("train", "val")}
        return {"path": folder, **splits, "names": names, "nc": len(names), "channels": 3}

    def final_eval(self) -> None:
        """Do nothing: the metrics of the best epoch are known, and `yolo.finetune` strips the checkpoint."""

    def run_callbacks(self, event: str) -> None:
        """Show progress instead of calling ultralytics' listeners, some of which report to online services."""
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
