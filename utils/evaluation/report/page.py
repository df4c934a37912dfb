"""The page that shows an evaluation: one file that needs no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from utils.classes import BACKGROUND
from utils.evaluation.report.charts import class_bars, heat_map, score_chart, size_chart
from utils.evaluation.report.curves import iou_by_score, iou_by_size
from utils.evaluation.report.pictures import ERROR_COLORS, ErrorKind, ImagePanels
from utils.evaluation.report.tables import (
    Section,
    confusion_table,
    css,
    curve_table,
    interval,
    label_color,
    label_table,
    mean_table,
    percent,
)
from utils.metrics.scores import Evaluation, ImageScore
from utils.metrics.summary import mean_ious, split_measures

if TYPE_CHECKING:
    from jinja2 import Environment

ERROR_NAMES = {
    ErrorKind.RIGHT: "right",
    ErrorKind.MISSED: "missed",
    ErrorKind.FALSE: "false: there is nothing",
    ErrorKind.WRONG_CLASS: "wrong class",
    ErrorKind.VOID: "void, not counted",
}

PANELS = ("Image", "Target", "Prediction", "Errors")

SHAPES = 0.5, 2.5
"""The least and the most width of a picture over its height; others get margins."""


@dataclass(frozen=True)
class ImageCard:
    """An image as the page shows it.

    Attributes:
        score: its part of the evaluation.
        photo: a URL of its content.
        layers: a caption and the URL of what lies over the photograph, "" for nothing.
        shape: width over height of the pictures.
        labels: name, colour and IoU in percent of each label, the worst first; without the background.
        ious: IoU by label, as JSON.
    """

    score: ImageScore
    photo: str
    layers: tuple[tuple[str, str], ...]
    shape: float
    labels: tuple[tuple[str, str, str], ...]
    ious: str


def render(
    title: str, evaluation: Evaluation, pictures: Sequence[ImagePanels], sections: Sequence[Section] = ()
) -> bytes:
    """The page in UTF-8; the same evaluation and pictures give the same bytes.

    Args:
        title: of the page.
        evaluation: what it shows.
        pictures: of images of the evaluation, in the order in which they are shown.
        sections: that stand between the numbers and the images.
    """
    environment = _environment()
    parts = {name: _part(f"page.{name}") for name in ("css", "js")}
    scores = {image.image_id: image for image in evaluation.images}
    text = environment.get_template("page.html.j2").render(
        title=" ".join(title.split()),
        evaluation=evaluation,
        split=split_measures(evaluation),
        means=mean_ious(evaluation),
        means_table=mean_table(evaluation),
        labels_table=label_table(evaluation),
        confusions=confusion_table(evaluation),
        heat=heat_map(evaluation),
        charts=list(_charts(evaluation)),
        sections=sections,
        cards=[_card(each, scores[each.image_id], evaluation.names) for each in pictures],
        choices=_choices(pictures, scores, evaluation.names),
        kinds=[(name, css(ERROR_COLORS[kind])) for kind, name in ERROR_NAMES.items()],
        script_hash=base64.b64encode(hashlib.sha256(parts["js"].encode()).digest()).decode(),
        **parts,
    )
    # Characters of file names that are not valid UTF-8 are spelled out.
    return text.encode("utf-8", "backslashreplace")


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, interval=interval)
    return environment


def _part(name: str) -> Markup:
    """A file beside this one that goes into the page as it is."""
    return Markup((Path(__file__).parent / name).read_text("utf-8"))


def _charts(evaluation: Evaluation) -> Iterator[tuple[Any, Any]]:
    """Each chart with the table of its numbers, or None where another table has them."""
    yield class_bars(evaluation), None
    by_size = iou_by_size(evaluation)
    if len(by_size.counts):
        yield size_chart(by_size), curve_table("IoU and object size", "Size in pixels", {"": by_size})
    kinds = {"detector's score": "scores", "SAM2's score": "mask_scores"}
    by_score = {name: iou_by_score(evaluation, kind) for name, kind in kinds.items()}
    by_score = {name: curve for name, curve in by_score.items() if len(curve.counts)}
    if by_score:
        yield score_chart(by_score), curve_table("IoU and score", "Score", by_score)


def _card(pictures: ImagePanels, score: ImageScore, names: Sequence[str]) -> ImageCard:
    height, width = pictures.size
    layers = (b"", pictures.target, pictures.prediction, pictures.errors)
    ious = {label: iou for label, iou in zip(score.labels.tolist(), score.class_iou.tolist()) if label != BACKGROUND}
    return ImageCard(
        score,
        _data_url(pictures.photo, "jpeg"),
        tuple((caption, _data_url(layer, "png")) for caption, layer in zip(PANELS, layers)),
        round(min(max(width / height, SHAPES[0]), SHAPES[1]), 4),
        tuple(
            (names[label], label_color(label), percent(iou))
            for label, iou in sorted(ious.items(), key=lambda entry: (entry[1], entry[0]))
        ),
        json.dumps({str(label): round(iou, 4) for label, iou in ious.items()}, separators=(",", ":")),
    )


def _choices(
    pictures: Sequence[ImagePanels], scores: dict[str, ImageScore], names: Sequence[str]
) -> list[tuple[int, str, int]]:
    """Label, name and number of shown images of each class in them."""
    shown = [set(scores[each.image_id].labels.tolist()) for each in pictures]
    counts = ((label, name, sum(label in labels for labels in shown)) for label, name in enumerate(names))
    return [(label, name, count) for label, name, count in counts if count and label != BACKGROUND]


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if content else ""
