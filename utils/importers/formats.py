"""The table of what reads each annotation format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from utils.exporters.exporter import Format
from utils.importers.coco import read_coco
from utils.importers.labelme import read_labelme
from utils.importers.voc import read_voc
from utils.importers.yolo import read_yolo
from utils.structures import Instances

Importer = Callable[[Path, Sequence[str]], Iterator[tuple[str, Instances]]]
"""What reads a format's folder, with class names by class id: image ids with their instances."""

IMPORTERS: dict[Format, Importer] = {
    "labelme": read_labelme,
    "labelme-polygon": read_labelme,
    "coco": read_coco,
    "yolo": read_yolo,
    "voc": read_voc,
}
