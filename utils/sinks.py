"""The sinks of a run: one for each output that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.annotations.plan import AnnotationPlan
from utils.annotations.source import AnnotationFolder
from utils.cli.options import Options
from utils.config import Config, PredictorConfig
from utils.engine import Sink
from utils.evaluation.files import ATTRIBUTION, GAIN
from utils.io.writers import Writers
from utils.json_reading import read_json

if TYPE_CHECKING:
    from utils.evaluation.report.pictures import WorstImages
    from utils.evaluation.report.tables import Section


def build_sinks(options: Options, names: Sequence[str], writers: Writers, plan: AnnotationPlan) -> list[Sink]:
    """The sinks of `options.outputs`; evaluation comes last, so its metric lines are the last that a run prints."""
    config, sinks = options.config, list[Sink]()
    if "visual" in options.outputs:
        sinks.append(_overlays(config.predictor, names, writers))
    sinks += plan.sinks(names, writers)
    if "evaluate" in options.outputs:
        if options.diff is not None:
            from utils.evaluation.comparison import ComparisonSink

            sinks.append(ComparisonSink(names, AnnotationFolder(options.diff, names), config.evaluator.save_dir))
        from utils.evaluation.evaluator import Evaluator

        folder, album = config.evaluator.save_dir, album_of(config)
        sections = partial(_sections, folder, attribute=options.attribute)
        beside = {ATTRIBUTION: options.attribute, GAIN: options.diff is not None}
        made = [name for name, wanted in beside.items() if wanted]
        sinks.append(Evaluator(names, folder, writers, album, sections, made))
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


def _sections(folder: Path, *, attribute: bool) -> list[Section]:
    """What the report has beyond the evaluation: who lost it, from the file that the cascade has written by then."""
    from utils.evaluation.report.tables import attribution_section

    return [attribution_section(read_json(folder / ATTRIBUTION))] if attribute else []


def album_of(config: Config) -> WorstImages | None:
    """Where the pictures of the report are collected, or None if there is to be none."""
    from utils.evaluation.report.pictures import WorstImages

    wanted = config.evaluator
    return WorstImages(config.name, wanted.report_images) if wanted.report else None
