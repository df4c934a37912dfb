"""Write Pascal VOC trees for detectors: lists of images, photos, and an XML file of boxes per image."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from xml.etree import ElementTree

from utils.errors import SampleError
from utils.formats.base import Exported, nonempty
from utils.formats.voc import VocExporter, photo_of
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
