"""The table of annotation formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from utils.exporters.coco import CocoExporter
from utils.exporters.exporter import Exporter, ExportSettings, Format
from utils.exporters.labelme import LabelmeExporter
from utils.exporters.labelme_polygon import LabelmePolygonExporter
from utils.exporters.voc import VocExporter
from utils.exporters.yolo import YoloExporter

FORMATS: dict[Format, Callable[[ExportSettings], Exporter]] = {
    "labelme": LabelmeExporter,
    "labelme-polygon": LabelmePolygonExporter,
    "coco": CocoExporter,
    "yolo": YoloExporter,
    "voc": VocExporter,
}


def format_folder(save_dir: Path, name: Format) -> Path:
    """Where a format's files go: labelme's into the annotation folder itself, those of others to one of their own."""
    return save_dir if name == "labelme" else save_dir / name
