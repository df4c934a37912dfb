"""The files that all images of a run share, put together from the records on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.exporters.exporter import Exporter
from utils.exporters.ledger import Record, RecordedFiles
from utils.fingerprint import file_hash, hash_of
from utils.writers import atomic_write, remove


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
        remove(folder, missing)
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
