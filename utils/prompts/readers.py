"""Readers of prompt files, and the table of the formats that they read.

To add a format, write a reader, which fills a `TableBuilder` and builds a table, and the format's line in
`PROMPT_FORMATS`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from utils.boxes import enclosing_box
from utils.classes import find_class_names
from utils.errors import UserError
from utils.formats.coco_reader import entries_by_id, id_of_file, ids_of_files
from utils.formats.label_studio import refuse_tasks
from utils.formats.labelme_reader import FLAT_KINDS, LabelmeFiles, grouped, read_labelme_json, shapes_of
from utils.formats.predictions import CocoFiles, coco_files, path_without
from utils.formats.registry import predictions_of
from utils.formats.voc import LabelMaps
from utils.formats.voc_detect import read_box_file, read_xml
from utils.formats.yolo_labels import LabelReader, label_files
from utils.io.json_files import Location, describe, get
from utils.prompts.table import (
    NO_SCORE,
    Interpretation,
    JsonRows,
    PromptFormat,
    PromptOverrides,
    PromptSource,
    PromptTable,
    Size,
    TableBuilder,
)


def read_row_list(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read a JSON list of rows, all of them with a score, and all or none with a `file_name`."""
    table, named = _scored(source.json.build(source, format)), source.json.with_file_name
    if named not in (0, len(table)):
        raise UserError(f"{table.path}: file_name stands in {named} of {len(table)} rows, not in all")
    return replace(table, image_keys=[id_of_file(str(name)) for name in table.image_keys]) if named else table


def _scored(table: PromptTable) -> PromptTable:
    """Return the table; UserError if a row has no score."""
    if (table.scores == NO_SCORE).any():
        raise UserError(f"{table.location(int(np.argmax(table.scores == NO_SCORE)))}.score: is missing")
    return table


def read_coco_json(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read COCO instances; an annotation without a score has the score 1, crowds are left out."""
    return _by_instances(source.json.build(source, format, "annotations"), source.json)


def read_coco_results(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read COCO results, in which all rows have a score, with the instances file beside them."""
    rows, instances = source.results
    for other in (*label_files(source.path, source.files[".txt"]).values(), *source.files[".xml"]):
        raise UserError(f"{source.path}: holds {rows.path.name} and {other.name}: name a folder of one kind")
    table = rows.build(source, format)
    return _by_instances(_scored(replace(table, files=[rows.path] * len(table.image_keys))), instances)


def _by_instances(table: PromptTable, instances: JsonRows) -> PromptTable:
    """Give rows the names of the images and categories whose ids they have, which stand in an instances file."""
    place = Location(str(instances.path))
    images = entries_by_id(
        instances.content,
        "images",
        place,
        lambda row, at: (get(row, "file_name", str, at), _stated_size(row, "height", "width")),
    )
    for i, image_id in enumerate(table.image_keys):
        if str(image_id) not in images:
            row = int(np.argmax(table.key_of_row == i))
            raise UserError(f"{table.location(row)}.image_id: {image_id} is none of the images")
    names = entries_by_id(instances.content, "categories", place, lambda row, at: get(row, "name", str, at))
    position_of = {category_id: i for i, category_id in enumerate(names)}
    positions = np.array([position_of.get(str(number), -1) for number in table.category_ids.tolist()], np.int64)
    if (positions < 0).any():
        row = int(np.argmax(positions < 0))
        raise UserError(f"{table.location(row)}.category_id: {table.category_ids[row]} is none of the categories")
    # The same image may be 7 and "7" in its rows; images without boxes belong to the file, too.
    ids = {image_id: i for i, image_id in enumerate(dict.fromkeys([*map(str, table.image_keys), *images]))}
    key_of = np.array([ids[str(image_id)] for image_id in table.image_keys], np.int64)
    return replace(
        table,
        image_keys=ids_of_files([images[image_id][0] for image_id in ids], place),
        files=[*table.files[:1]] * len(ids),
        key_of_row=key_of[table.key_of_row],
        scores=np.where(table.scores == NO_SCORE, np.float32(1), table.scores),
        category_ids=positions,
        class_names=tuple(names.values()),
        sizes={key: size for image_id, key in ids.items() if (size := images[image_id][1])},
    )


def _stated_size(entry: dict[str, Any], height: str, width: str) -> Size | None:
    """Return the (height, width) that an object has under two keys, or None unless both are numbers above 0."""
    sides: tuple[Any, Any] = entry.get(height), entry.get(width)
    return sides if all(type(side) in (int, float) and side > 0 for side in sides) else None


def label_class_names(path: Path, overrides: PromptOverrides) -> tuple[str, ...] | None:
    """Return the class names of a folder of YOLO labels, for a run that has none; None for prompts of other formats.

    Raises:
        UserError: nothing names its classes.
    """
    source = PromptSource(path, overrides)
    if VOC_BOXES.recognizes(source) or not YOLO_LABELS.recognizes(source):  # as in PROMPT_FORMATS
        return None
    if overrides.class_names is not None:
        return overrides.class_names
    if (found := find_class_names(path)) is not None:
        return found.names
    raise UserError(
        f"{path}: nothing names the classes of these YOLO labels: there is no classes.txt or data.yaml in the folder, "
        "beside it or beside its parent, and the config has no dataset.classes; add --prompt-names FILE "
        "(one name per line, or a data.yaml) or --prompt-names coco"
    )


def read_yolo_folder(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read a folder of YOLO labels, with the class names of its dataset unless the command line gives others."""
    labels, rows, given = label_files(source.path, source.files[".txt"]), TableBuilder(), source.overrides
    folders = {label.parent: label.name for label in labels.values()}
    for shape in source.files[".json"]:
        if shape.parent in folders:
            raise UserError(f"{source.path}: holds {folders[shape.parent]} and {shape.name}: name a folder of one kind")
    found = None if given.class_names is not None else find_class_names(source.path)
    reader = LabelReader(labels.values(), given.label_columns, found.keypoints if found else 0)
    if given.label_columns not in (None, *reader.columns) and reader.counts:
        counts = " or ".join(map(str, reader.counts[:5]))
        what = f'"{given.label_columns}" behind the class fits no row; rows have {counts} numbers there'
        raise UserError(f"--label-columns: {source.path}: {what}")
    repeated = 0
    for image_id, path in labels.items():
        key, seen = rows.key(image_id, path), set[tuple[int, float, bytes]]()
        for label in reader.labels(path):
            content = label.class_id, label.confidence, label.points.tobytes()
            if content in seen:  # ultralytics leaves them out, too
                repeated += 1
                continue
            seen.add(content)
            rows.add(key, label.line, label.box(), label.class_id, label.confidence)
    left_out = {"that repeat another row of their file": repeated}
    columns = " or ".join(f"`class {columns}`" for columns in reader.columns)
    variant = f"rows are {columns}" if columns else ""
    table = rows.build(source, format, ":{number}", variant=variant, left_out=left_out)
    return table if found is None else replace(table, class_names=found.names, names_file=found.path)


def read_labelme_folder(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read a folder of labelme files: a row for each object, whose box encloses its shapes."""
    rows, flat, sizes = TableBuilder(), Counter[str](), dict[int, Size]()
    for path in source.files[".json"]:
        key, content = rows.key(path_without(path, source.path), path), read_labelme_json(path)
        shapes = shapes_of(content, path)
        if size := _stated_size(content, "imageHeight", "imageWidth"):
            sizes[key] = size
        flat.update(shape.kind for shape in shapes if shape.kind in FLAT_KINDS)
        boxes = {i: box for i, shape in enumerate(shapes) if (box := shape.box()) is not None}
        for parts in ([i for i in group if i in boxes] for group in grouped(shapes)):
            if parts:
                score = max(shapes[i].scores.get("score", 1.0) for i in parts)
                box = enclosing_box([boxes[i] for i in parts])
                rows.add(key, parts[0], box, rows.class_id(shapes[parts[0]].label), score)
    left_out = {f"that are a {kind}, which encloses nothing": count for kind, count in flat.items()}
    return rows.build(source, format, ": shapes[{number}]", left_out=left_out, sizes=sizes)


def read_voc_folder(source: PromptSource, format: PromptFormat) -> PromptTable:
    """Read a folder of Pascal VOC's XML files, or a tree with such a folder, `Annotations`.

    VOC counts the pixels of corners from 1, and both belong to the box. Some tools count from 0: then one is below 1.
    """
    files, rows, sizes = source.files[".xml"], TableBuilder(), dict[int, Size]()
    names = {path.stem for path in files}
    for path in label_files(source.path, source.files[".txt"]).values():
        if path.stem in names:
            raise UserError(f"{source.path}: holds {path.stem}.xml and {path.name}: name a folder of one kind")
    for path in files:
        key, (size, objects) = rows.key(path_without(path, source.path, "Annotations"), path), read_box_file(path)
        if size is not None:
            sizes[key] = size
        for i, (name, box) in enumerate(objects, 1):
            rows.add(key, i, box, rows.class_id(name), 1.0)
    table = rows.build(source, format, ": object {number}", sizes=sizes)
    if (below := (table.boxes[:, :2] < 1).any(axis=1)).any():
        place = f"{table.short_location(int(np.argmax(below)))}; if that is a mistake, write 1 there"
        return replace(table, variant=f"pixels count from 0, since a corner lies below 1 ({place})")
    return replace(table, boxes=table.boxes - (1, 1, 0, 0), variant="pixels count from 1")


def _is_voc(source: PromptSource) -> bool:
    """Tell whether the first XML file is of VOC, by its folder, so that a broken one is named, or by its content."""
    for path in source.files[".xml"][:1]:
        with suppress(UserError):
            return "Annotations" in path.parts or read_xml(path) is not None
    return False


NATIVE = PromptFormat(
    "native prompt file",
    lambda source: isinstance(source.json.content, list) and not source.json.with_file_name,
    read_row_list,
    images_by="ids",
    # Ultralytics 8.0 to 8.3.187 wrote no file_name, so only their numbers tell its files from native ones.
    other_title="rows without file_name",
)

ULTRALYTICS = PromptFormat(
    "predictions of Ultralytics since 8.3.188",
    lambda source: isinstance(source.json.content, list) and source.json.with_file_name > 0,
    read_row_list,
    Interpretation("xywh", "1"),
    images_by="names",
    coco_offsets=("1", "coco91"),
)

COCO_INSTANCES = PromptFormat(
    "COCO instances",
    lambda source: isinstance(source.json.content, dict) and "annotations" in source.json.content,
    read_coco_json,
    Interpretation("xywh", "0"),
    names_classes=True,
)

COCO_RESULTS = PromptFormat(
    "COCO results with their instances file",
    lambda source: bool(source.results),
    read_coco_results,
    Interpretation("xywh", "0"),
    names_classes=True,
)

YOLO_LABELS = PromptFormat(
    "YOLO labels",
    lambda source: bool(label_files(source.path, source.files[".txt"])),
    read_yolo_folder,
    fixed_boxes="boxes are shares of their images' sides",
    normalized=True,
)

LABELME = PromptFormat(
    "labelme shapes",
    lambda source: bool(source.files[".json"]) and predictions_of(source.path) is LabelmeFiles,
    read_labelme_folder,
    fixed_boxes="boxes are around shapes",
    names_classes=True,
)

VOC_BOXES = PromptFormat(
    "Pascal VOC boxes",
    _is_voc,
    read_voc_folder,
    fixed_boxes="boxes have two corners",
    names_classes=True,
)

PROMPT_FORMATS = [NATIVE, ULTRALYTICS, COCO_INSTANCES, COCO_RESULTS, VOC_BOXES, YOLO_LABELS, LABELME]
"""The first one that recognizes a file or folder reads it."""


def read_prompt_table(source: PromptSource) -> PromptTable:
    """Read the rows of a file or folder, their values checked.

    Raises:
        UserError: it cannot be read, or is of no known format.
    """
    if source.path.is_file():
        refuse_tasks(source.json.content, source.path)
    found = next((each for each in PROMPT_FORMATS if each.recognizes(source)), None)
    if found is None:
        _refuse_unknown(source)
    return found.read(source, found)


_YOLO = "-p takes the folder of YOLO labels: -p {}"
_NO_JSON = {
    ".txt": f"a text file; {_YOLO}",
    ".yaml": f"describes a YOLO dataset; {_YOLO}",
    ".yml": f"describes a YOLO dataset; {_YOLO}",
    ".xml": "XML; of VOC's boxes, one file an image, -p takes the folder: -p {}",
    ".csv": "CSV is not read; docs/prompts.md lists the formats, and docs/extending.md has a reader of CSV to add",
}
"""Suffix of files that are surely no JSON -> what to type; `{}` is the folder."""


def _refuse_unknown(source: PromptSource) -> NoReturn:
    """Raise UserError that says what a file or folder of no known format may be."""
    path = source.path
    if path.is_dir():
        for damaged in source.files[".xml"][:1]:
            read_xml(damaged)
        lacking = f"{path}: no YOLO labels (.txt), labelme files (.json) or VOC annotations (.xml) here"
        if outputs := source.outputs():
            raise UserError(f"{lacking}; -p {shlex.quote(str(outputs[0]))} takes an output there")
        if (kind := predictions_of(path)) is LabelmeFiles:
            raise UserError(lacking)
        if kind is LabelMaps and (problem := LabelMaps.first_problem(path)):
            raise UserError(f"{lacking}; {problem}")
        such = f", such as {shlex.quote(str(next(chain(*coco_files(path)))))}" if kind is CocoFiles else ""
        files = f"of rows and COCO instances, -p takes the file{such}"
        raise UserError(f"{lacking}; {files}; -a takes the folder as {kind.title}, in place of the models")
    if path.suffix in _NO_JSON and path.is_file():
        # A file of a YOLO dataset most likely stands for the labels that it is among, or beside.
        labels = next((folder for folder in path.parents if folder.name == "labels"), path.parent / "labels")
        folder = labels if path.suffix != ".xml" and labels.is_dir() else path.parent
        raise UserError(f"{path}: {_NO_JSON[path.suffix].format(shlex.quote(str(folder)))}")
    if source.json.error:
        raise source.json.error
    if isinstance(source.json.content, dict) and "shapes" in source.json.content:
        raise UserError(f"{path}: a labelme file; -p takes the folder of such files")
    raise UserError(f"{path}: expected a list of rows or COCO instances, found {describe(source.json.content)}")
