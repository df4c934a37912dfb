"""What a person edited and a run cannot use: files that are broken, or that belong to no image any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from utils.annotations.manifest import Manifest
from utils.annotations.records import FileStatus
from utils.engine import RunImages
from utils.errors import UserError
from utils.formats.labelme_reader import read_labelme_json, shapes_of
from utils.formats.registry import FORMATS
from utils.io.image_files import is_image_name


def broken_files(formats: Mapping[str, Manifest]) -> Iterator[str]:
    """Say which labelme files of a person are broken, and where."""
    for name in (name for name in formats if FORMATS[name].is_labelme):
        for image_id in formats[name].ids_of(FileStatus.EDITED):
            path = formats[name].folder / f"{image_id}.json"
            try:
                shapes_of(read_labelme_json(path), path)
            except UserError as error:
                yield f"{error}; the file is kept: correct it there, or remove it to have it written anew"


def unused_edits(formats: Mapping[str, Manifest], images: RunImages) -> Iterator[str]:
    """Say which edited files belong to no image any more, since a second photo came that has the same stem."""
    twins: defaultdict[str, list[str]] = defaultdict(list)
    for image_id, path in zip(images.ids, images.paths):
        if is_image_name(image_id) and PurePosixPath(image_id).name == path.name:
            twins[PurePosixPath(image_id).with_suffix("").as_posix()].append(image_id)
    known = {*images.ids} if twins else set()
    for stem, ids in twins.items():
        for manifest in formats.values():
            if stem not in known and manifest.is_edited(stem):
                yield (
                    f"{manifest.name}: what a person edited for {stem} in {manifest.folder} is kept, but not used: "
                    f"several photos have this name now, so their files are called after {' and '.join(ids)}; rename "
                    "the edited one likewise, or the other photos"
                )
