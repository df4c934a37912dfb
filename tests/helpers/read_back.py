"""Annotations of any format, read back as `-a` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.classes import ClassIndex
from utils.formats.labelme_reader import LabelmeFiles, labelme_instances
from utils.formats.registry import predictions_of
from utils.formats.yolo_labels import unescape_images_dir
from utils.io.image_files import image_size, is_image_name
from utils.structures import Instances


def read_back(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """Yield the id and the instances of each image; the sizes that labels lack are those of the photos in `images/`."""
    index, kind = ClassIndex(names), predictions_of(path)
    if kind is LabelmeFiles:
        for file in sorted(path.rglob("*.json")):
            yield file.relative_to(path).with_suffix("").as_posix(), labelme_instances(file, index)
        return
    photos = path / "images"
    stems = {each.relative_to(photos).with_suffix(""): each for each in photos.rglob("*") if is_image_name(each.name)}
    sizes = {unescape_images_dir(stem.as_posix()): image_size(photo) for stem, photo in stems.items()}
    found = kind(path, index)
    for key in found.keys:
        yield key, found.read(key, sizes.get(key, (0, 0)))
