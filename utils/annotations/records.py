"""An output of a run, what was written in it for an image and for all of them, and how files compare with that now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from utils.annotations.fingerprint import file_hash, file_signature, hash_of
from utils.errors import UserError
from utils.formats.base import RECORDS, Exporter
from utils.io.json_files import read_json
from utils.io.writers import atomic_write, is_inside, remove_files


class FileStatus(IntEnum):
    """Status of an image's output files relative to the current run."""

    NEW = 0
    """Nothing is there, or only what a killed run got to."""
    DONE = 1
    """Written before, with the same settings from the same image."""
    OUTDATED = 2
    """Written before, with other settings or from another image."""
    REFRESH = 3
    """As the run would write it, but for what needs no model: review flags, or copies in place of links."""
    EDITED = 4
    """Not as it was written: a person changed it, or made it in the first place."""


UNFINISHED = (FileStatus.NEW, FileStatus.OUTDATED)
"""What the run writes, whether or not it replaces what a person edited."""


@dataclass(frozen=True)
class AnnotationOutput:
    """Say what an output of a run has on disk, and who makes it.

    Attributes:
        name: for messages: a format, a table, or `frames`.
        folder: where its files lie.
        exporter: makes the exporter, given the class names.
        overwrite: replace files that a person edited or made, too.
        files: the paths of an image's files below the folder, given its id.
        photo: the path, without suffix, at which the folder has the photo itself, given the image's id, or None.
        copy: copy photos there; otherwise links lead to them.
        root: the annotation folder, where the frames of video files lie as images; between it and a file no link is
            followed. None: the folder itself.
        records: the hidden folder of records, one for each image; that of the shared files lies beside it.
        shared_settings: hashes what decides the shared files besides the records, once `scan` has found what a person
            edited; None: there are none.
        keep_others: leave shared files that an earlier run made and this one does not, such as lists of other splits.
    """

    name: str
    folder: Path
    exporter: Callable[[Sequence[str]], Exporter]
    overwrite: bool = False
    files: Callable[[str], Sequence[str]] = lambda image_id: []
    photo: Callable[[str], str] | None = None
    copy: bool = False
    root: Path | None = None
    records: str = RECORDS
    shared_settings: Callable[[], str] | None = None
    keep_others: bool = True


@dataclass(frozen=True)
class Record:
    """Hold what was written for an image, or as shared files, as JSON in a file of its own.

    Attributes:
        settings: the fingerprint of what the files depend on, see `ImageFingerprint`; not of the settings alone.
        files: hash of the content by path below the format's folder.
        links: paths there that lead to the photo, or are copies of it.
        photo: the signature of the photo, where there are links.
        record: what the exporter needs to assemble shared files.
    """

    settings: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[str] = ()
    photo: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read a record; None if there is none or it is damaged. Its names are not checked: they may lead anywhere."""
        try:
            record = cls(**read_json(path))
        except (UserError, TypeError):
            return None
        containers = isinstance(record.files, dict), isinstance(record.links, list), isinstance(record.record, dict)
        texts = (record.settings, record.photo, *record.files, *record.links) if all(containers) else (None,)
        return record if all(isinstance(text, str) for text in texts) else None

    def save(self, path: Path) -> None:
        """Write the record; WriterError if that fails."""
        atomic_write(path, json.dumps(vars(self), sort_keys=True).encode())

    def status(self, folder: Path, settings: str) -> FileStatus:
        """Compare the files below a folder with the record, and its fingerprint `settings` with that of the run."""
        found = {name: file_hash(folder / name) for name in self.files}
        replaced = any(self._is_another_photo(folder / name) for name in self.links)
        if replaced or any(now not in (None, self.files[name]) for name, now in found.items()):
            return FileStatus.EDITED
        if None in found.values() or not all((folder / name).exists() for name in self.links):
            return FileStatus.NEW
        return FileStatus.DONE if self.settings == settings else FileStatus.OUTDATED

    def _is_another_photo(self, path: Path) -> bool:
        """Return whether a file stands where a link or a copy was made, and is not what was copied."""
        if path.is_symlink() or not path.is_file():
            return False
        words = file_signature(path).split()
        return self.photo not in (" ".join(words), " ".join(words[:2])) or not words  # two, of an earlier version


class SharedFiles:
    """Write the files that all images of an output share, such as `instances.json`.

    A record of them lies beside those of the images. What a person edited stays.

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
