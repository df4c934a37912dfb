"""The page that shows an evaluation: one HTML file that needs no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from utils.classes import BACKGROUND, label_of
from utils.evaluation.report import tables
from utils.evaluation.report.charts import Chart, class_bars, f1_chart, precision_chart, score_chart, size_chart
from utils.evaluation.report.curves import box_curves, iou_by_score, iou_by_size
from utils.evaluation.report.pictures import ERROR_COLORS, ErrorKind, ImagePanels, PanelBox
from utils.evaluation.report.tables import Section, Table, css, curve_table, label_color, percent
from utils.io.terminal import counted
from utils.metrics.attribution import main_error
from utils.metrics.scores import ImageScore
from utils.metrics.summary import LABEL_MEASURES, Evaluation

ERROR_NAMES = {
    ErrorKind.RIGHT: "right",
    ErrorKind.MISSED: "missed",
    ErrorKind.FALSE: "false: there is nothing",
    ErrorKind.WRONG_CLASS: "wrong class",
    ErrorKind.VOID: "void, not counted",
}

PANELS = ("Image", "Target", "Prediction", "Errors")

SIDE = 400
"""Longer side of the drawing of boxes, in its own units."""

MOST_SCORES = 12
"""So many of an image's boxes, the largest, show their score; the others tell it where the mouse rests on them."""

SCORE_SIZE = 36, 15
"""Width and height of a written score, in units of the drawing."""

SHAPES = 0.5, 2.5
"""The least and the greatest width of a picture over its height; others get margins."""


def render(
    evaluation: Evaluation,
    panels: Sequence[ImagePanels],
    run: Mapping[str, Any],
    attribution: Mapping[str, Any] | None,
    tuned: Mapping[str, Any] | None,
) -> bytes:
    """Write the page in UTF-8; the same arguments give the same bytes.

    Args:
        evaluation: what it shows.
        panels: of images of the evaluation, in the order in which they are shown.
        run: what `Provenance` says of the run.
        attribution: the result of `Attribution`, or None.
        tuned: the result of `Tuning`, or None.
    """
    scores = {image.image_id: image for image in evaluation.images}
    shown = [scores[each.image_id] for each in panels]
    return fill(
        "page.html.j2",
        title=" ".join(run["config"]["name"].split()),
        evaluation=evaluation,
        figures=list(tables.figures(evaluation)),
        label_measures=LABEL_MEASURES.values(),
        labels_table=tables.label_table(evaluation),
        means_table=tables.mean_table(evaluation),
        confusions=tables.confusion_table(evaluation),
        heat=tables.heat_map(evaluation),
        bars=class_bars(evaluation),
        charts=list(_charts(evaluation)),
        parts=any(not image.objects.has_instance_ids for image in evaluation.images),
        sections=[*_sections(evaluation, attribution, tuned)],
        cards=[_card(*each, evaluation.names, attribution) for each in zip(panels, shown)],
        choices=_choices(shown, evaluation.names),
        run=_description(run),
        config=json.dumps(run["config"], ensure_ascii=False, indent=2),
    )


def fill(template: str, **content: Any) -> bytes:
    """Fill a template of this folder, with the style, script and kinds of errors that all pages share; in UTF-8."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    script = (folder / "page.js").read_text("utf-8")
    text = environment.get_template(template).render(
        css=Markup((folder / "page.css").read_text("utf-8")),
        js=Markup(script),
        kinds=[(name, css(ERROR_COLORS[kind])) for kind, name in ERROR_NAMES.items()],
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )
    # Characters of file names that are not valid UTF-8 are spelled out.
    return text.encode("utf-8", "backslashreplace")


def _sections(
    evaluation: Evaluation, attribution: Mapping[str, Any] | None, tuned: Mapping[str, Any] | None
) -> Iterator[Section]:
    """Yield the parts of the page that only some evaluations have."""
    if evaluation.clips is not None:
        yield tables.clip_section(evaluation.clips)
    if attribution is not None:
        yield tables.attribution_section(attribution)
    if tuned:
        yield tables.threshold_section(tuned, evaluation.names)


def _charts(evaluation: Evaluation) -> Iterator[tuple[Chart, Table | None]]:
    """Yield each chart with the table of its numbers, or None where another table has them."""
    by_size = iou_by_size(evaluation)
    if len(by_size.counts):
        yield size_chart(by_size), curve_table("IoU and object size", "Size in pixels", {"": by_size})
    kinds = {"score of the box": "scores", "SAM2's score": "mask_scores"}
    by_score = {name: iou_by_score(evaluation, kind) for name, kind in kinds.items()}
    by_score = {name: curve for name, curve in by_score.items() if len(curve.counts)}
    if by_score:
        yield score_chart(by_score), curve_table("IoU and score", "Score", by_score)
    boxes = box_curves(evaluation)
    if boxes is not None:
        yield precision_chart(boxes), tables.box_table(boxes, evaluation.names)
        yield f1_chart(boxes), None


def _card(
    panels: ImagePanels, score: ImageScore, names: Sequence[str], attribution: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what the page shows of an image; its labels, without the background, are sorted by IoU."""
    layers = (b"", panels.target, panels.prediction, panels.errors)
    ious = {label: iou for label, iou in zip(score.labels.tolist(), score.class_iou.tolist()) if label != BACKGROUND}
    worst_first = sorted(ious, key=lambda label: (ious[label], label))
    return {
        "name": score.image_id,
        "facts": _facts(score, attribution),
        "photo": data_url(panels.photo, "jpeg"),
        "layers": [(caption, data_url(layer, "png")) for caption, layer in zip(PANELS, layers)],
        "boxes": _boxes(panels, names),
        "shape": shape_of(panels.size),
        "labels": [(names[label], label_color(label), percent(ious[label])) for label in worst_first],
        "ious": json.dumps({str(label): round(iou, 4) for label, iou in ious.items()}, separators=(",", ":")),
    }


def shape_of(size: tuple[int, int]) -> float:
    """Return the width over the height of the frame around pictures of a (height, width), within `SHAPES`."""
    return round(min(max(size[1] / size[0], SHAPES[0]), SHAPES[1]), 4)


def _facts(score: ImageScore, attribution: Mapping[str, Any] | None) -> Markup:
    """Say how good an image is and, where that is known, which error cost it most."""
    text = "mean IoU <b>{} %</b>, <b>{} %</b> of pixels right"
    facts = Markup(text).format(percent(score.mean_iou), percent(score.pixel_accuracy))
    error, loss = ("", 0.0) if attribution is None else main_error(attribution["images"][score.image_id])
    return facts + Markup("; {} cost <b>{} %</b>").format(error, percent(loss)) if error else facts


def _boxes(panels: ImagePanels, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the boxes over the prediction, in a drawing whose longer side is `SIDE`; None without boxes."""
    scale = SIDE / max(panels.size)
    height, width = (round(side * scale, 1) for side in panels.size)
    drawn = [
        {
            "place": [f"{value * scale:.0f}" for value in each[2:]],
            "color": label_color(label_of(each.class_id)),
            "tip": f"{names[label_of(each.class_id)]} {each.score:.2f}",
            "score": place and (f"{each.score:.2f}", *place),
        }
        for each, place in zip(panels.boxes, place_scores(panels.boxes, scale))
    ]
    return {"width": width, "height": height, "drawn": drawn} if drawn else None


def place_scores(boxes: Sequence[PanelBox], scale: float) -> list[tuple[int, int] | None]:
    """Find places (x, y) for the scores of boxes such that none hides another; None where the mouse has to tell it.

    A score stands at the upper left corner of its box (where that is outside, still in the picture), else at the lower.
    """
    places: list[tuple[int, int] | None] = [None] * len(boxes)
    for i, box in enumerate(boxes[:MOST_SCORES]):
        left = round(box.x * scale + 3)
        for top in (max(18, round(box.y * scale - 3)), round((box.y + box.height) * scale - 4)):
            taken = [place for place in places if place]
            if all(abs(left - x) >= SCORE_SIZE[0] or abs(top - y) >= SCORE_SIZE[1] for x, y in taken):
                places[i] = left, top
                break
    return places


def _description(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of what `Provenance` says of a run, for the foot of the page; the config stays out."""
    files = {"boxes": run["prompt_file"], **run["weights"]}
    hashes = [(name, f"{file['path']}, SHA-256 {file['sha256']}") for name, file in files.items() if file]
    return [
        ("Command", run["command"]),
        ("Date", f"{run['date'].replace('T', ' ')}, {run['seconds']} seconds"),
        ("Data", f"{run['data']['data_dir']}, split {run['data']['split']}"),
        *([("Annotations", run["annotations"])] if run["annotations"] else []),
        *((f"{name[0].upper()}{name[1:]}", text) for name, text in hashes),
        ("Device", f"{run['device']}, processes: {run['processes']}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in run["versions"].items())),
    ]


def _choices(shown: Sequence[ImageScore], names: Sequence[str]) -> list[tuple[int, str, int]]:
    """Return label, name and number of shown images of each class in them."""
    counts = [(label, name, sum(label in image.labels for image in shown)) for label, name in enumerate(names)]
    return [(label, name, count) for label, name, count in counts if count and label != BACKGROUND]


def data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if content else ""
