"""The sinks of an output: what takes the instances of each image of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.annotations.source import AnnotationFolder
from utils.cli.options import Options
from utils.config import Config, PredictorConfig
from utils.engine import Sink
from utils.io.writers import Writers
from utils.metrics.attribution import Attribution

if TYPE_CHECKING:
    from utils.evaluation.report.pictures import WorstImages


def evaluation_sinks(options: Options, names: Sequence[str], writers: Writers) -> list[Sink]:
    """Return what scores each image against its ground truth; `utils/metrics/summary.py` has the table of metrics.

    Args:
        names: class names, by class id.
    """
    from utils.evaluation.comparison import Comparison
    from utils.evaluation.evaluator import Evaluator

    attribution = Attribution(len(names)) if options.attribute else None
    before = None if options.diff is None else AnnotationFolder(options.diff, names)
    comparison = None if before is None else Comparison(names, before)
    save_dir = options.config.evaluator.save_dir
    return [Evaluator(names, save_dir, writers, worst_images_of(options.config), attribution, comparison)]


def overlay_sinks(config: PredictorConfig, names: Sequence[str], writers: Writers) -> list[Sink]:
    """Return what renders overlays: a picture an image, or with `mp4` a video a clip.

    Args:
        names: class names, by class id.
    """
    from utils.visual.overlay import OverlaySink
    from utils.visual.video import VideoOverlaySink

    beside, font = config.side_by_side, config.font
    if config.format == "mp4":
        return [
            VideoOverlaySink(config.save_dir, names, writers, fps=config.fps, side_by_side=beside, font=font),
        ]
    return [OverlaySink(config.save_dir, names, writers, format=config.format, side_by_side=beside, font=font)]


def worst_images_of(config: Config) -> WorstImages | None:
    """Where the pictures of the report are collected, or None if there is to be none."""
    from utils.evaluation.report.pictures import WorstImages

    wanted = config.evaluator
    return WorstImages(config.name, wanted.report_images) if wanted.report else None
