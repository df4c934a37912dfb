"""The files that all images of an output share, such as `instances.json`, and which of them are a person's by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from utils.annotations.fingerprint import file_hash, hash_of
from utils.annotations.records import AnnotationOutput, Record
from utils.io.writers import atomic_write, is_inside, remove_files


class SharedFiles:
    """Write the shared files of an output; a record of them lies beside those of the images.

    Attributes:
        record_path: where it lies.
        settings: hashes what decides the files besides the records of the images.
    """

    def __init__(self, output: AnnotationOutput, settings: Callable[[], str]) -> None:
        self._output, self._folder, self.settings = output, output.folder, settings
        self.record_path = output.folder / f"{output.records}.json"

    def record(self) -> Record | None:
        """Read the record; None if there is none, or it names files out of the folder."""
        record = Record.read(self.record_path)
        return record if record and all(is_inside(self._folder, name) for name in record.files) else None

    def write(self, made: Mapping[str, bytes], made_of: str) -> list[Path]:
        """Write files in place of those of the record.

        Those that a person edited stay unless `overwrite` is set, and so do those of other runs, such as the list of
        another split.

        Args:
            made: contents by path below the folder.
            made_of: the hash of what they were made of.

        Returns:
            the edited files that stay.

        Raises:
            WriterError: no space, no permission.
        """
        before = self.record() or Record()
        hashes = {name: hash_of(content) for name, content in made.items()}
        found = {name: file_hash(self._folder / name) for name in made}
        # What is there is missing, as an earlier run wrote it, or as this one would write it; else a person's.
        ours = {name: found[name] in (None, before.files.get(name), hashes[name]) for name in made}
        edited = [] if self._output.overwrite else [name for name in made if not ours[name]]
        stale = [name for name in made if name not in edited and found[name] != hashes[name]]
        # What earlier runs made and this one does not is dropped, unless it is to be kept or a person edited it.
        recorded = {name: known for name, known in before.files.items() if (self._folder / name).exists()}
        others = [] if self._output.keep_others else [name for name in recorded if name not in made]
        dropped = [name for name in others if file_hash(self._folder / name) == recorded[name]]
        files = {name: known for name, known in recorded.items() if name not in dropped}
        files |= {name: hashes[name] for name in made if name not in edited}
        remove_files(self._folder, [*stale, *dropped])
        if (made_of, files) != (before.settings, before.files):
            Record(made_of, files).save(self.record_path)
        for name in stale:
            atomic_write(self._folder / name, made[name])
        return [self._folder / name for name in edited]
