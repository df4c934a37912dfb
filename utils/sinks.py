"""The sinks of a run: one for each output that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.annotations.plan import AnnotationPlan
from utils.annotations.source import AnnotationFolder
from utils.cli.options import Options
from utils.config import Config, PredictorConfig
from utils.engine import Sink
from utils.io.writers import Writers
from utils.metrics.attribution import Attribution

if TYPE_CHECKING:
    from utils.evaluation.report.pictures import WorstImages


def build_sinks(
    options: Options,
    names: Sequence[str],
    writers: Writers,
    plan: AnnotationPlan,
    attribution: Attribution | None = None,
) -> list[Sink]:
    """Build the sinks of `options.outputs`; evaluation comes last, so its metric lines are the last that a run prints.

    Args:
        names: class names, indexed by class id.
        writers: whose threads encode, score and write.
        plan: the annotations to write.
        attribution: what the cascade adds images to and the evaluation reports, or None.
    """
    config, sinks = options.config, list[Sink]()
    if "visual" in options.outputs:
        sinks.append(_overlays(config.predictor, names, writers))
    sinks += plan.sinks(names, writers)
    if "evaluate" in options.outputs:
        from utils.evaluation.comparison import Comparison
        from utils.evaluation.evaluator import Evaluator

        before = None if options.diff is None else AnnotationFolder(options.diff, names)
        comparison = None if before is None else Comparison(names, before)
        folder = config.evaluator.save_dir
        sinks.append(Evaluator(names, folder, writers, album_of(config), attribution, comparison))
    return sinks


def _overlays(look: PredictorConfig, names: Sequence[str], writers: Writers) -> Sink:
    """What renders overlays: a picture an image, or a film a clip."""
    from utils.visual.overlay import OverlaySink
    from utils.visual.video import VideoOverlaySink

    if look.format == "mp4":
        return VideoOverlaySink(
            look.save_dir, names, writers, fps=look.fps, side_by_side=look.side_by_side, font=look.font
        )
    return OverlaySink(
        look.save_dir, names, writers, format=look.format, side_by_side=look.side_by_side, font=look.font
    )


def album_of(config: Config) -> WorstImages | None:
    """Where the pictures of the report are collected, or None if there is to be none."""
    from utils.evaluation.report.pictures import WorstImages

    wanted = config.evaluator
    return WorstImages(config.name, wanted.report_images) if wanted.report else None
