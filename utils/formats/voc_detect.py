"""Write Pascal VOC trees for detectors: lists of images, photos, an XML file of boxes per image. Read such files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

from utils.errors import SampleError, UserError
from utils.files import open_regular
from utils.formats.base import Exported, nonempty
from utils.formats.voc import VocExporter, photo_of
from utils.io.json_files import describe
from utils.structures import Instances, Sample

NOT_IN_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML file holds; and carriage returns, which are read as line feeds."""


def box_file(image_id: str) -> str:
    """Return the path of an image's boxes below the format's folder."""
    return f"Annotations/{image_id}.xml"


class VocDetectExporter(VocExporter):
    """Write `Annotations/<image_id>.xml`, the tight box around each mask, and the lists in `ImageSets/Main/`."""

    class_list = None
    task: ClassVar = "Main"

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the boxes of one image; its photo as in `VocExporter`.

        Corners are pixels of the object and are counted from 1, as in VOC: (1, 1) is the top left pixel of an image.

        Raises:
            SampleError: no line of a list can hold its id, or no XML file.
        """
        files, links = photo_of(sample)
        kept, losses = nonempty(instances)
        (photo,) = (path.removeprefix("JPEGImages/") for path in [*files, *links])
        height, width = sample.size
        size = {"width": width, "height": height, "depth": 3}
        content = {"folder": "JPEGImages", "filename": photo, "size": size, "segmented": 0}
        root = _element("annotation", content)
        root.extend(self._object(instances, i) for i in kept)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, "unicode")
        if odd := NOT_IN_XML.search(text):
            raise SampleError(sample.image_id, sample.path, f"no XML file holds {odd[0]!a}, in its name or of a class")
        return Exported(
            {box_file(sample.image_id): f"{text}\n".encode(), **files}, links, shapes=len(kept), losses=losses
        )

    def _object(self, instances: Instances, i: int) -> ElementTree.Element:
        name = self.settings.names[instances.detections.class_ids[i]]
        x1, y1, x2, y2 = instances.masks[i].box.tolist()
        box = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        return _element("object", {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": 0, "bndbox": box})


def _element(tag: str, content: Any) -> ElementTree.Element:
    """Make an element: of each key an element in it, or the text of a value."""
    element = ElementTree.Element(tag)
    if isinstance(content, dict):
        element.extend(_element(key, value) for key, value in content.items())
    else:
        element.text = str(content)
    return element


def read_box_file(path: Path) -> tuple[tuple[float, float] | None, list[tuple[str, list[float]]]]:
    """Read the (height, width) that a file states, and the name and box of each object, its corners as they stand.

    Raises:
        UserError: it cannot be read, is none of VOC's, or lacks a name or a corner.
    """
    root, size = read_xml(path), None
    if all(root.findtext(f"size/{side}") not in (None, "", "0") for side in ("height", "width")):
        size = _number(root, "size/height", path), _number(root, "size/width", path)
    objects = []
    for i, entry in enumerate(root.iterfind("object"), 1):
        place = f"{path}: object {i}"
        box = [_number(entry, f"bndbox/{side}", place) for side in ("xmin", "ymin", "xmax", "ymax")]
        objects.append((_text(entry, "name", place), box))
    return size, objects


def read_xml(path: Path) -> ElementTree.Element:
    """Read a file of VOC's; UserError if it cannot be read or is another."""
    try:
        with open_regular(path) as file:
            root = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:  # the last two of an unknown encoding
        raise UserError(f"{path}: cannot be read as XML: {error}") from error
    if root.tag != "annotation":
        cvat = ", CVAT's own XML, which is not read; export COCO 1.0 there" if root.tag == "annotations" else ""
        raise UserError(f"{path}: expected an annotation of Pascal VOC, found <{root.tag}>{cvat}")
    return root


def _text(element: ElementTree.Element, tag: str, place: object) -> str:
    if not (text := (element.findtext(tag) or "").strip()):
        raise UserError(f"{place}: {tag} is missing")
    return text


def _number(element: ElementTree.Element, tag: str, place: object) -> float:
    text = _text(element, tag, place)
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{place}: {tag}: expected a number, found {describe(text)}") from error
