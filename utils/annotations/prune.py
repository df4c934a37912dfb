"""Annotations whose photo is gone, removed unless a person edited them, or is called otherwise by now."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from utils.annotations.manifest import Manifest
from utils.annotations.records import Record
from utils.engine import RunImages
from utils.errors import first_of
from utils.io.image_files import is_image_name, is_photo_gone
from utils.io.json_files import path_problem
from utils.io.terminal import counted


def find_orphans(folder: Path, images: RunImages) -> dict[str, bool]:
    """Find the images that were annotated and that no photo is any more.

    Args:
        folder: the annotation folder; each annotated image has a record of the review table there.
        images: of the run; what they annotate is no orphan.

    Returns:
        ids in order -> whether the photo is there, in this run, under another id; else it is gone (`is_photo_gone`).
    """
    records, photos = folder / ".review", {}
    known = {*images.ids} if records.is_dir() else set()
    for parent, _, names in os.walk(records):
        below = "" if parent == str(records) else f"{os.path.relpath(parent, records)}/".replace(os.sep, "/")
        for name in names:
            image_id = below + name.removesuffix(".json")
            if image_id in known or not name.endswith(".json") or not (record := Record.read(Path(parent, name))):
                continue
            photo = record.record.get("photo")
            if isinstance(photo, str) and not path_problem(photo):
                photos[image_id] = Path(os.path.realpath(folder), photo)
    alike = {photo.name for photo in photos.values()}  # few; the run may have a million
    used = {os.path.realpath(path) for path in images.paths if path.name in alike} if alike else set()
    renamed = {image_id: os.path.realpath(photo) in used for image_id, photo in sorted(photos.items())}
    return {i: is_renamed for i, is_renamed in renamed.items() if is_renamed or is_photo_gone(photos[i], i)}


def prune(orphans: Mapping[str, bool], manifests: Sequence[Manifest], *, keep: bool, dry_run: bool) -> str:
    """Remove all files of these images but those of images that a person edited; say what became of them.

    Args:
        orphans: one or more, see `find_orphans`.
        manifests: of all formats; the one whose records tell of the images comes last, so that they are found again if
            the process is killed.
        keep: remove nothing, but say how.
        dry_run: remove nothing.
    """
    other_id = ", or of photos that have another id now" if any(orphans.values()) else ""
    line = f"{counted(len(orphans), 'annotation')} without photo{other_id}"

    def is_edited(image_id: str) -> bool:
        return any(manifest.is_edited(image_id) for manifest in manifests)

    if keep:
        example = next((image_id for image_id in orphans if not is_edited(image_id)), next(iter(orphans)))
        return f"{line}, such as {example}; --prune removes those that no person edited"
    kept = dict.fromkeys(filter(is_edited, orphans))
    removed = [image_id for image_id in orphans if image_id not in kept]
    for image_id in () if dry_run else removed:
        for manifest in manifests:
            manifest.remove(image_id)
    states = {"to be removed" if dry_run else "removed": removed, "edited and kept": [*kept]}
    return f"{line}: {', '.join(f'{len(ids)} {state} ({first_of(ids)})' for state, ids in states.items() if ids)}"


def unused_edits(formats: Mapping[str, Manifest], images: RunImages) -> Iterator[str]:
    """Say which edited files belong to no image any more, since a second photo came that has the same stem."""
    twins: defaultdict[str, list[str]] = defaultdict(list)
    for i, image_id in enumerate(images.ids):
        if is_image_name(image_id) and PurePosixPath(image_id).name == images.paths[i].name:
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
