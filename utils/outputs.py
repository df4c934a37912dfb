"""Where the outputs of a run go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from utils.config import PredictorConfig
from utils.options import Options, Output
from utils.problems import refuse

SECTIONS: Mapping[Output, str] = {"evaluate": "evaluator", "visual": "predictor", "annotate": "auto_mask"}
"""Output -> the section of the config whose `save_dir` it goes to."""


def overlay_places(look: PredictorConfig, image_ids: Iterable[str]) -> Iterator[Path]:
    """For each image, where its overlay goes, or the film of its clip."""
    film = look.format == "mp4"
    for image_id in image_ids:
        yield look.save_dir / f"{image_id.rpartition('/')[0] if film else image_id}.{look.format}"


def check_writable(options: Options) -> None:
    """Raises UserError where a run could not write its outputs; no folder is made."""
    sections = (SECTIONS[output] for output in options.outputs)
    folders = {f"{section}.save_dir": getattr(options.config, section).save_dir for section in sections}
    reasons = {f"{key}: {folder}": _obstacle(folder) for key, folder in folders.items()}
    refuse("No outputs can be written there:", [f"{place}: {reason}" for place, reason in reasons.items() if reason])


def _obstacle(folder: Path) -> str:
    """Why no file can be made in a folder, which need not be there yet; empty if one can."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        # Permissions alone do not tell: a disk may be read-only, a server may allow less than they say.
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"no file can be made in {nearest}: {error.strerror}"
