"""The table of annotation formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from utils.formats.base import Exporter, ExportSettings, Format
from utils.formats.coco import CocoExporter, read_coco
from utils.formats.labelme_reader import read_labelme
from utils.formats.labelme_writer import LabelmeExporter, LabelmePolygonExporter
from utils.formats.voc import VocExporter, read_voc
from utils.formats.yolo import YoloExporter, read_yolo
from utils.structures import Instances

FORMATS: dict[Format, Callable[[ExportSettings], Exporter]] = {
    "labelme": LabelmeExporter,
    "labelme-polygon": LabelmePolygonExporter,
    "coco": CocoExporter,
    "yolo": YoloExporter,
    "voc": VocExporter,
}

Importer = Callable[[Path, Sequence[str]], Iterator[tuple[str, Instances]]]
"""What reads a format's folder, with class names by class id: image ids with their instances."""

IMPORTERS: dict[Format, Importer] = {
    "labelme": read_labelme,
    "labelme-polygon": read_labelme,
    "coco": read_coco,
    "yolo": read_yolo,
    "voc": read_voc,
}
