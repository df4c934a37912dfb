"""Which files each image has on disk in a format, whether a person edited them, and whether they may be replaced.

A record lists the hash of each file that was written for an image; a file with another hash was edited. Labelme files
have theirs within, see `labelme_manifest.py`.

Promises, kept whenever a run is killed: each file is whole; a file that a person edited or made is known as such and
kept; the next run completes what is missing. Therefore a write first removes the old files, then writes the record,
then the new files: at any moment each file is as the record says, or missing, or somebody else's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from utils.annotations.fingerprint import MISSING, ImageFingerprint, file_hash, file_signature, file_times, hash_of
from utils.annotations.index import BUFFERED, KEY, NO_KEY, Index, Keys
from utils.annotations.records import AnnotationOutput, FileStatus, Record, SharedFiles
from utils.formats.base import FRAME_SUFFIX, Exported, Exporter
from utils.io.image_files import IMAGE_SUFFIXES
from utils.io.json_files import path_problem
from utils.io.writers import WriterError, atomic_link, atomic_write, link_from, remove_files, safe_path


class Manifest:
    """Know the status of each image's files in one output of a run, write them, and assemble the shared files.

    Args:
        output: what it is.
        fingerprint: hashes what the files of an image depend on.
        own_settings: what else decides a status, in JSON's types; None: whether photos are copied.

    Attributes:
        broken: what is wrong with files that a person edited, by image; they are looked at in every run.
        shared: the files that all images share; None where the output has none.
        index: knows the status of images whose files did not change.
        ids, photos: the images of the run, and their files. These and the rest are set by `scan`.
        keys: (images,) their keys in the index.
        statuses: (images,) uint8, the `FileStatus` of each image's files; NEW of those that were not looked at.
    """

    has_records: ClassVar = True
    """Whether a record tells what was written for an image; if not, its file does."""

    def __init__(
        self, output: AnnotationOutput, fingerprint: ImageFingerprint, own_settings: Sequence[Any] | None = None
    ) -> None:
        self.output, self.name, self.folder = output, output.name, output.folder
        self.broken: dict[str, str] = {}
        self.ids: Sequence[str] = ()
        self.photos: Sequence[str] = ()
        self.keys: Keys = np.zeros(0, KEY)
        self.statuses: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._fingerprint, self._root = fingerprint, output.root or output.folder
        self._record_checker = output.exporter(())  # asked for `is_record` only, which needs no class names
        self._records = output.folder / output.records
        self._texts = str(self.folder), str(self._records)
        self._own = json.dumps([self.name, os.path.realpath(self.folder), *(own_settings or [output.copy])]).encode()
        self.shared = None if output.shared_settings is None else SharedFiles(output, output.shared_settings)
        self.index = Index(self.folder / f"{output.records}.index")

    def status(self, image_id: str, image: Path) -> FileStatus:
        """Compare the files of an image, itself in the file `image`, with what the run would write."""
        if record := self._record(image_id):
            status = record.status(self.folder, self._fingerprint.exact(image_id, image))
            linked = self.output.copy and any((self.folder / name).is_symlink() for name in record.links)
            return FileStatus.REFRESH if linked and status is FileStatus.DONE else status
        exists = any(os.path.exists(self.folder / name) for name in self.output.files(image_id))
        return FileStatus.EDITED if exists else FileStatus.NEW  # what no record names, a person made

    def key(self, image_id: str, image: str, times: bytes | None = None) -> bytes:
        """Hash what decides the status of an image, without reading it; NO_KEY if it has no file.

        Args:
            times: `RunFingerprint.times` of it, where that is known already.
        """
        files = self._possible_files(image_id, image)
        found = [*map(file_times, files)]
        if found.count(MISSING) == len(found) and not any(map(os.path.islink, files)):
            return NO_KEY
        name, depends = image_id.encode("utf-8", "surrogateescape"), self._fingerprint.quick(image_id, image, times)
        content = b"\0".join([self._own, name, depends, *found])
        return hashlib.blake2b(content, digest_size=15).digest() + b"\1"  # numpy leaves out zeros at the end

    def _possible_files(self, image_id: str, image: str) -> list[str]:
        """List the files that an image may have here, as texts: the paths of a million images would take long."""
        folder, records = self._texts
        files = [f"{records}/{image_id}.json"] if self.has_records else []
        files += [f"{folder}/{name}" for name in self.output.files(image_id)]
        if self.output.photo:
            stem = f"{folder}/{self.output.photo(image_id)}"
            files += [f"{stem}{suffix}" for suffix in (os.path.splitext(image)[1], ".png", FRAME_SUFFIX)]
        return files

    def links(self, image_id: str, image: Path) -> Iterator[tuple[Path, str]]:
        """Find the folders of an image's files that lie behind a link, and say where it leads."""
        for folder in self._folders(image_id):
            if aim := self._link_from(folder, image):
                yield folder, aim

    def open_index(self, ids: Sequence[str], photos: Sequence[str], own_file: str) -> None:
        """Take the images of the run, and read what earlier runs knew; see `Index.open`."""
        self.ids, self.photos = ids, photos
        self.keys, self.statuses = np.zeros(len(ids), KEY), np.zeros(len(ids), np.uint8)
        self.index.open(own_file)

    def is_blank(self, images: Iterable[tuple[str, str]]) -> bool:
        """Return whether the folders of the files of some images are all empty, but for hidden entries."""
        folders = {os.path.dirname(file) for image in images for file in self._possible_files(*image)}
        return all(map(_is_blank, folders))

    def look_up(self, positions: Sequence[int]) -> list[int]:
        """Find the statuses of images by their keys; return the positions of those that have files of other keys."""
        keys = self.keys[positions]
        statuses = self.statuses[positions] = self.index.look_up(keys)
        return [positions[i] for i in np.flatnonzero((statuses == FileStatus.NEW) & (keys != NO_KEY)).tolist()]

    def read(self, positions: Sequence[int]) -> None:
        """Find the statuses of images by their files, and let the index know them."""
        for i in positions:
            status = self.statuses[i] = self.status(self.ids[i], Path(self.photos[i]))
            if status in (FileStatus.DONE, FileStatus.EDITED) and self.ids[i] not in self.broken:
                self.index.add(self.keys[i], status)

    def ids_of(self, status: FileStatus) -> list[str]:
        """Return the images with a status, as `scan` found it."""
        return [self.ids[i] for i in np.flatnonzero(self.statuses == status).tolist()]

    def is_to_write(self, status: FileStatus) -> bool:
        """Return whether the run writes files of this status."""
        return status in (FileStatus.NEW, FileStatus.OUTDATED) or (
            status is FileStatus.EDITED and self.output.overwrite
        )

    def write(self, image_id: str, image: Path, exported: Exported) -> bool:
        """Write the image's files in place of those of its record.

        If a file that no record names has another content than what would be written there, nothing is written
        without `overwrite`.

        Returns:
            whether they were written.

        Raises:
            WriterError: no space, no permission, or a link on the way.
        """
        self._check_links(image_id, image)
        names = {*exported.files, *exported.links}
        assert all(self._is_own(image_id, name) for name in names), f"{self.name}: the table of formats lacks {names}"
        before = self._record(image_id) or Record()
        if not self.output.overwrite and self._is_taken(exported, before):
            return False
        remove_files(self.folder, (*before.files, *before.links))
        hashes = {name: hash_of(content) for name, content in exported.files.items()}
        links, photo = sorted(exported.links), file_signature(image) if exported.links else ""
        record = Record(self._fingerprint.exact(image_id, image), hashes, links, photo, exported.record)
        record.save(self._record_path(image_id))
        for name, content in exported.files.items():
            atomic_write(self.folder / name, content)
        for name, target in exported.links.items():
            atomic_link(self.folder / name, target, copy=self.output.copy)
        self._note_written(image_id, image)
        return True

    def _note_written(self, image_id: str, image: Path) -> None:
        self.index.add(self.key(image_id, str(image)), FileStatus.DONE)
        self.index.save(at_least=BUFFERED)

    def is_edited(self, image_id: str) -> bool:
        """Return whether a person edited or made a file of an image, whatever the settings."""
        if record := self._record(image_id):
            return record.status(self.folder, settings="") is FileStatus.EDITED
        return any(os.path.exists(self.folder / name) for name in self.output.files(image_id))

    def remove(self, image_id: str) -> None:
        """Remove the files and the record of an image that nobody edited."""
        if record := self._record(image_id):
            remove_files(self.folder, (*record.files, *record.links))
            remove_files(self._records, [f"{image_id}.json"])

    def refresh(self, image_id: str, image: Path) -> None:
        """Bring up to date what needs no model."""
        record = self._record(image_id)
        for name in record.links if record else ():
            atomic_link(self.folder / name, image, copy=self.output.copy)

    def is_assembled(self, image_ids: Sequence[str]) -> bool:
        """Return whether all is up to date, the shared files with the records that these images have now."""
        if (self.statuses == FileStatus.REFRESH).any():
            return False
        if self.shared is None:
            return True
        record = self.shared.record()
        if record is None or not all((self.folder / name).exists() for name in record.files):
            return False
        is_known = self.index.shared == self._shared_key(self.shared, image_ids, self.keys)
        return is_known or record.settings == self._shared_hash(self.shared, image_ids)

    def assemble(self, exporter: Exporter, image_ids: Sequence[str]) -> list[Path]:
        """Bring up to date what needs no model; write the shared files from the records of images that have one.

        Only one process may do so, when the records of all images are written. It returns and raises what
        `SharedFiles.write` does.
        """
        for i in np.flatnonzero(self.statuses == FileStatus.REFRESH).tolist():
            self.refresh(self.ids[i], Path(self.photos[i]))
        if self.shared is None:
            return []
        made = exporter.assemble(self._exported_records(image_ids))
        edited = self.shared.write(made, self._shared_hash(self.shared, image_ids))
        if len(image_ids) == len(self.ids):
            keys = [self.key(*image) for image in zip(self.ids, self.photos)]
            self.index.note_shared(self._shared_key(self.shared, image_ids, np.array(keys, KEY)))
        return edited

    def name_problem(self, image_id: str) -> str | None:
        """Say why no files can have this image's name; None if they can."""
        problems = (path_problem(path.name) for path in self._paths(image_id))
        return next((problem for problem in problems if problem), None)

    def lacks(self, image_id: str) -> bool:
        """Return whether a file that was written for an image is gone."""
        return not all(os.path.lexists(path) for path in self._paths(image_id))

    def _paths(self, image_id: str) -> list[Path]:
        """List the files that every finished image has here: its record, if any, and those of the format."""
        records = [self._record_path(image_id)] if self.has_records else []
        return [*records, *(safe_path(self.folder, name, "") for name in self.output.files(image_id))]

    def _folders(self, image_id: str) -> set[Path]:
        """List the folders of an image's files."""
        photos = [safe_path(self.folder, self.output.photo(image_id), "")] if self.output.photo else []
        return {path.parent for path in (*self._paths(image_id), *photos)}

    def _link_from(self, folder: Path, image: Path) -> str | None:
        """Say where a folder below that of the annotations leads, if a link is on the way."""
        return link_from(folder, self._root)

    def _check_links(self, image_id: str, image: Path) -> None:
        for folder, aim in self.links(image_id, image):
            raise WriterError(folder, OSError(errno.ELOOP, aim))

    def _record_path(self, image_id: str) -> Path:
        return safe_path(self._records, image_id, ".json")

    def _record(self, image_id: str) -> Record | None:
        """Read the record of an image; None if there is none, or it says what no run writes of this image."""
        record = Record.read(self._record_path(image_id))
        if record is None or not self._record_checker.is_record(image_id, record.record):
            return None
        return record if all(self._is_own(image_id, name) for name in (*record.files, *record.links)) else None

    def _is_own(self, image_id: str, name: str) -> bool:
        """Return whether a run would make a file of this name for the image; nothing else is compared or removed."""
        stem = self.output.photo(image_id) if self.output.photo else None
        is_photo = stem is not None and name.startswith(stem) and name[len(stem) :].lower() in IMAGE_SUFFIXES
        return is_photo or name in self.output.files(image_id)

    def _is_taken(self, exported: Exported, before: Record) -> bool:
        """Return whether a file that no record names, with another content, is where one is to be written."""
        for name in {*exported.files, *exported.links} - {*before.files, *before.links}:
            if found := file_hash(self.folder / name):
                content = exported.files.get(name)
                if found != (file_hash(exported.links[name]) if content is None else hash_of(content)):
                    return True
        return False

    def _exported_records(self, image_ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Read what the exporter recorded of each image that has a record, in order."""
        for image_id in image_ids:
            if record := self._record(image_id):
                names = [*record.files, *record.links]
                yield image_id, {**({"files": names} if names else {}), **record.record}

    def _shared_hash(self, shared: SharedFiles, image_ids: Iterable[str]) -> str:
        """Hash what decides the shared files: their own settings, and all records in their order."""
        digest = hashlib.sha256(shared.settings().encode())
        for image_id in image_ids:
            content = file_hash(self._record_path(image_id))
            digest.update(json.dumps([image_id, content]).encode())
        return digest.hexdigest()

    def _shared_key(self, shared: SharedFiles, image_ids: Sequence[str], keys: Keys) -> bytes:
        """Hash the same without reading records: by the keys of the images."""
        names = "".join(f"{image_id}\0" for image_id in image_ids).encode("utf-8", "surrogateescape")
        settings = shared.settings().encode() + file_times(shared.record_path)
        return hashlib.blake2b(settings + keys.tobytes() + names).digest()


def _is_blank(folder: str) -> bool:
    """Return whether a folder is missing or holds hidden entries only, so that no file in it need be asked for."""
    try:
        with os.scandir(folder) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except OSError:
        return not os.path.lexists(folder)
