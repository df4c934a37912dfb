"""The table of export formats. To add one, write its exporter in a file of this folder and add its line below.

Everything else that knows formats reads this table: `--format`, the check of `auto_mask.formats`, the plan of a run,
and what later runs take for their own files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.formats.base import Exporter, ExportSettings
from utils.formats.coco import CocoExporter
from utils.formats.coco_panoptic import CocoPanopticExporter, panoptic_map
from utils.formats.label_studio import LabelStudioExporter
from utils.formats.labelme_reader import LabelmeFiles
from utils.formats.labelme_writer import LabelmeExporter, LabelmePolygonExporter
from utils.formats.predictions import CocoFiles, Predictions
from utils.formats.voc import LabelMaps, VocExporter, VocTree, map_files, voc_photo
from utils.formats.voc_detect import VocDetectExporter, box_file
from utils.formats.yolo import (
    YoloDetectExporter,
    YoloExporter,
    YoloLabels,
    YoloObbExporter,
    label_file,
    photo_stem,
)
from utils.io.json_files import read_json


@dataclass(frozen=True)
class ExportFormat:
    """Hold all that the rest of the program knows of a format.

    Attributes:
        exporter: makes the exporter of a run.
        files: the paths of an image's files below the format's folder, given its id; none where images only have a part
            in shared files.
        photo: the path, without suffix, at which the format has the photo itself, given the image's id; None: it has
            no photos, its files name them where they lie.
        settings: the keys of `auto_mask` that change its files.
        keeps_other_splits: whether runs over other splits of a dataset add to the folder, each its own lists.
        has_own_folder: whether its files go to a folder of its name; if not, to the annotation folder itself.
        predictions: the kinds of files of this format that `-a` reads; labelme's is that of folders of no other kind.
        is_labelme: whether each image has one file in labelme's form, which records what it was made from within it.
    """

    exporter: Callable[[ExportSettings], Exporter]
    files: Callable[[str], Sequence[str]]
    photo: Callable[[str], str] | None = None
    settings: Sequence[str] = ()
    keeps_other_splits: bool = False
    has_own_folder: bool = True
    is_labelme: bool = False
    predictions: Sequence[type[Predictions]] = ()


FORMATS: dict[str, ExportFormat] = {
    "labelme": ExportFormat(
        LabelmeExporter,
        lambda image_id: [f"{image_id}.json"],
        settings=["review_below"],
        has_own_folder=False,
        is_labelme=True,
    ),
    "labelme-polygon": ExportFormat(
        LabelmePolygonExporter,
        lambda image_id: [f"{image_id}.json"],
        settings=["polygon_tolerance", "review_below"],
        is_labelme=True,
    ),
    "coco": ExportFormat(
        CocoExporter,
        lambda image_id: [],
        settings=["polygon_tolerance", "coco_segmentation"],
        predictions=[CocoFiles],
    ),
    "coco-panoptic": ExportFormat(CocoPanopticExporter, lambda image_id: [panoptic_map(image_id)]),
    "yolo": ExportFormat(
        YoloExporter,
        lambda image_id: [label_file(image_id)],
        photo=photo_stem,
        settings=["polygon_tolerance"],
        predictions=[YoloLabels],
    ),
    "yolo-detect": ExportFormat(YoloDetectExporter, lambda image_id: [label_file(image_id)], photo=photo_stem),
    "yolo-obb": ExportFormat(YoloObbExporter, lambda image_id: [label_file(image_id)], photo=photo_stem),
    "label-studio": ExportFormat(LabelStudioExporter, lambda image_id: [f"{image_id}.json"]),
    "voc": ExportFormat(
        VocExporter,
        map_files,
        photo=voc_photo,
        keeps_other_splits=True,
        predictions=[VocTree, LabelMaps],
    ),
    "voc-detect": ExportFormat(
        VocDetectExporter, lambda image_id: [box_file(image_id)], photo=voc_photo, keeps_other_splits=True
    ),
}
"""Name -> format, in the order of `--help`."""


def format_folder(save_dir: Path, name: str) -> Path:
    """Return where a format's files go below the annotation folder."""
    return save_dir / name if FORMATS[name].has_own_folder else save_dir


def predictions_of(path: Path) -> type[Predictions]:
    """Return the kind of a file or folder of annotations; labelme's where a folder is of no other.

    Raises:
        UserError: it may be of several kinds, or is a file of none.
    """
    if LabelmeFiles.recognizes(path):
        if any(each.with_suffix(".json").is_file() for each in path.rglob("*.txt")):
            raise UserError(f"{path}: holds labelme files and YOLO labels of one image: name a folder of one kind")
        return LabelmeFiles  # photos, and folders of other formats, may lie among labelme files
    kinds = [kind for each in FORMATS.values() for kind in each.predictions if kind.recognizes(path)]
    if len(kinds) > 1:
        raise UserError(f"{path}: may be {' or '.join(kind.title for kind in kinds)}: name a folder of one kind")
    if path.is_file() and not kinds:
        read_json(path)  # what is no JSON is told by its place
        raise UserError(f"{path}: expected COCO instances or results; labelme files are taken from their folder")
    return kinds[0] if kinds else LabelmeFiles
