"""What stands on disk for an image in a format, and whether it may be replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from utils.annotations.fingerprint import Sign, file_hash, hash_of, image_mark
from utils.formats.base import Exported, Exporter
from utils.io.writers import atomic_link, atomic_write, remove_files, safe_path

RECORDS = ".records"
"""The folder of records in the folder of a format."""


def no_places(image_id: str) -> Sequence[str]:
    """The places of a format whose images have no files of their own."""
    return ()


class State(Enum):
    """How an image's files stand to what a run would write."""

    NEW = "new"
    """Nothing is there, or the part that a killed run got to."""
    DONE = "done"
    """Written before, with the same settings from the same image."""
    OUTDATED = "outdated"
    """Written before, with other settings or from another image."""
    EDITED = "edited"
    """Not as it was written: a person changed it, or made it in the first place."""


class Ledger(Protocol):
    """Knows what was written for each image in one format.

    Attributes:
        folder: the format's folder.
    """

    folder: Path

    def state(self, image_id: str, image: Path) -> State:
        """How the files of an image, itself in the file `image`, stand now."""

    def write(self, image_id: str, image: Path, exported: Exported, *, overwrite: bool) -> bool:
        """Writes an image's files so that `state` knows them again.

        Args:
            overwrite: replace also what `state` calls edited, or would, had it known the files' names.

        Returns:
            whether they were written.

        Raises:
            WriterError: one cannot be written.
        """


@dataclass(frozen=True)
class Record:
    """What was written for an image.

    Attributes:
        settings: what its `Sign` gave.
        files: hash of the content by path below the format's folder.
        links: paths there that lead to the photo, or are copies of it.
        photo: what tells the photo from others.
        record: the exporter's own.
    """

    settings: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[str] = ()
    photo: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record of a file, or None if there is none that makes sense."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Writes the record; WriterError if that fails."""
        atomic_write(path, json.dumps(asdict(self), sort_keys=True).encode())

    def compare(self, folder: Path, settings: str) -> State:
        """How the files stand now, seen from new settings."""
        now = {name: file_hash(folder / name) for name in self.files}
        replaced = any(self._is_another_photo(folder / name) for name in self.links)
        if replaced or any(found not in (None, self.files[name]) for name, found in now.items()):
            return State.EDITED
        if None in now.values() or not all((folder / name).exists() for name in self.links):
            return State.NEW
        return State.DONE if self.settings == settings else State.OUTDATED

    def _is_another_photo(self, path: Path) -> bool:
        """Whether a file stands where a link or a copy was made, and not what was copied."""
        if path.is_symlink() or not path.is_file():
            return False
        # A mark that an earlier version noted is the beginning of what it is now.
        return not self.photo or not image_mark(path).startswith(self.photo)


class RecordedFiles:
    """Files that can carry no hash themselves; a record of each image says what was written.

    A record is written before its files and after those that they replace are gone. So whenever the process ends, each
    file is as the record says, or missing, or somebody else's.

    Args:
        folder: the format's folder.
        sign: the hash of what decides an image's annotation.
        places: where the format puts the files of an image, given its id.
        records: name of the folder of records.
    """

    def __init__(
        self, folder: Path, sign: Sign, places: Callable[[str], Sequence[str]] = no_places, records: str = RECORDS
    ) -> None:
        self.folder, self.records = folder, folder / records
        self._sign, self._places = sign, places

    def state(self, image_id: str, image: Path) -> State:
        """How the files of an image stand now; a file without a record is a person's."""
        record = Record.read(self.record_path(image_id))
        if record is not None:
            return record.compare(self.folder, self._sign(image_id, image))
        taken = any((self.folder / place).exists() for place in self._places(image_id))
        return State.EDITED if taken else State.NEW

    def write(self, image_id: str, image: Path, exported: Exported, *, overwrite: bool) -> bool:
        """Replaces the image's files; if others are in their places, only with `overwrite`.

        Raises:
            WriterError: no space, no permission.
        """
        path = self.record_path(image_id)
        before = Record.read(path) or Record("")
        if not overwrite and self._taken(exported, before):
            return False
        remove_files(self.folder, (*before.files, *before.links))
        hashes = {name: hash_of(content) for name, content in exported.files.items()}
        links, mark = sorted(exported.links), image_mark(image) if exported.links else ""
        Record(self._sign(image_id, image), hashes, links, mark, exported.record).save(path)
        for name, content in exported.files.items():
            atomic_write(self.folder / name, content)
        for name, aim in exported.links.items():
            atomic_link(self.folder / name, aim)
        return True

    def _taken(self, exported: Exported, before: Record) -> bool:
        """Whether a file that no record tells of is where another one is to be."""
        unknown = {*exported.files, *exported.links} - {*before.files, *before.links}
        there = {name: found for name in unknown if (found := file_hash(self.folder / name))}
        return any(
            found != (hash_of(exported.files[name]) if name in exported.files else file_hash(exported.links[name]))
            for name, found in there.items()
        )

    def record_path(self, image_id: str) -> Path:
        """Where the record of an image lies; UserError if its id leads out of the folder."""
        return safe_path(self.records, image_id, ".json")


class SharedFiles:
    """Writes the shared files of a format, and notes from which records, in a record of its own.

    Only one process may do so, when the records of all images are written.

    Args:
        ledger: the records of the images.
        fingerprint: the hash of what decides the shared files besides the records.
        overwrite: replace files that a person changed.
    """

    def __init__(self, ledger: RecordedFiles, fingerprint: str, overwrite: bool = False) -> None:
        self._ledger, self._fingerprint, self._overwrite = ledger, fingerprint, overwrite
        self._path = ledger.records.with_name(f"{ledger.records.name}.json")

    def fresh(self, image_ids: Iterable[str]) -> bool:
        """Whether the files were put together from the records that these images have now, and are still there."""
        record = Record.read(self._path)
        if record is None or not all((self._ledger.folder / name).exists() for name in record.files):
            return False
        return record.settings == self._digest(image_ids)

    def assemble(self, exporter: Exporter, image_ids: Sequence[str]) -> list[Path]:
        """Writes the files, from the records of those images that have one; those that a person changed it leaves.

        Returns:
            the files left.

        Raises:
            WriterError: no space, no permission.
        """
        files = exporter.assemble(self._records(image_ids))
        before = Record.read(self._path) or Record("")
        edited = [] if self._overwrite else self._edited(files, before)
        replaced = {name: content for name, content in files.items() if name not in edited}
        self._replace(replaced, before, self._digest(image_ids))
        return [self._ledger.folder / name for name in edited]

    def _edited(self, files: Mapping[str, bytes], before: Record) -> list[str]:
        """The files that stand there neither as they were written nor as they will be."""
        now = {name: file_hash(self._ledger.folder / name) for name in files}
        known = {name: (None, before.files.get(name), hash_of(content)) for name, content in files.items()}
        return [name for name in files if now[name] not in known[name]]

    def _replace(self, files: Mapping[str, bytes], before: Record, settings: str) -> None:
        """Writes what is not there yet, in the order that RecordedFiles explains; other files and their hashes stay."""
        folder = self._ledger.folder
        hashes = {name: hash_of(content) for name, content in files.items()}
        missing = [name for name in files if file_hash(folder / name) != hashes[name]]
        kept = {name: known for name, known in before.files.items() if (folder / name).exists()}
        remove_files(folder, missing)
        if (settings, {**kept, **hashes}) != (before.settings, before.files):
            Record(settings, {**kept, **hashes}).save(self._path)
        for name in missing:
            atomic_write(folder / name, files[name])

    def _records(self, image_ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Image id and what the exporter noted, of each image with a record, in order."""
        for image_id in image_ids:
            if record := Record.read(self._ledger.record_path(image_id)):
                yield image_id, record.record

    def _digest(self, image_ids: Iterable[str]) -> str:
        """The hash of what decides the files: the fingerprint, and all records in their order."""
        digest = hashlib.sha256(self._fingerprint.encode())
        for image_id in image_ids:
            content = file_hash(self._ledger.record_path(image_id))
            digest.update(json.dumps([image_id, content]).encode())
        return digest.hexdigest()
