"""The table of annotation formats."""

from __future__ import annotations

from collections.abc import Callable

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
