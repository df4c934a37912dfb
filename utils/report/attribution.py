"""The section of a report that says who lost what is missing from the mean IoU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.report.tables import Row, Section, Table, percent

TEXT = (
    "What the mean IoU lacks, in points of a hundred: lost by what is wrong with the detector's boxes, and by SAM2, "
    "given the boxes of the true objects. The parts add up; one is negative where a fault did good."
)


def attribution_section(result: Mapping[str, Any]) -> Section:
    """The section for an attribution, given as `attribution.json` holds it; with dashes where no pixel was counted."""
    boxes, parts = result["boxes"], result["parts"]
    rows = (
        ("Detector, all together", result["detector"], f"{boxes['found']} boxes for {boxes['true']} objects"),
        ("Detector: false boxes", parts["false"], f"{boxes['false']} of {boxes['found']} boxes"),
        ("Detector: badly placed boxes", parts["badly_placed"], f"{boxes['matched']} boxes that have an object"),
        ("Detector: missed objects", parts["missed"], f"{boxes['missed']} of {boxes['true']} objects"),
        ("SAM2, given the true boxes", parts["sam2"], f"{boxes['true']} objects"),
    )
    table = Table(
        "Who lost the mean IoU, in percent",
        ("Part", "Lost"),
        tuple(Row(name, (_lost(loss),), remark) for name, loss, remark in rows),
        Row("Missing", (_lost(result["missing"]),)),
    )
    return Section("attribution", "Who lost it", TEXT, (table,))


def _lost(loss: float | None) -> str:
    return percent(float("nan") if loss is None else loss)
