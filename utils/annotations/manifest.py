"""What stands on disk for each image in a format, and whether it may be replaced.

Promises, kept whenever a run is killed: each file is whole; a file that a person edited or made is known as such and
kept; the next run completes what is missing. Therefore a record is written after the files that it replaces are gone
and before its own: each file is then as the record says, or missing, or somebody else's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from utils.annotations.fingerprint import file_hash, file_signature, hash_of
from utils.annotations.stamps import SETTINGS, add_stamp, parse_if_unmodified
from utils.distributed import Session
from utils.formats.base import RECORDS, Exported, Exporter, photo_path
from utils.formats.review_flags import REVIEW_FLAG, flags_of
from utils.io.encoding import encode_json
from utils.io.image_files import IMAGE_SUFFIXES
from utils.io.writers import atomic_link, atomic_write, remove_files, safe_path


class FileStatus(Enum):
    """Status of an image's output files relative to the current run."""

    NEW = "new"
    """Nothing is there, or only what a killed run got to."""
    DONE = "done"
    """Written before, with the same settings from the same image."""
    OUTDATED = "outdated"
    """Written before, with other settings or from another image."""
    REFRESH = "refresh"
    """As the run would write it, but for what needs no model: review flags, or copies in place of links."""
    EDITED = "edited"
    """Not as it was written: a person changed it, or made it in the first place."""


@dataclass(frozen=True)
class Record:
    """Hold what was written for an image, or as shared files, as JSON in a file of its own.

    Attributes:
        settings: the hash of what decides the files.
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
        """Read a record; None if there is none that makes sense."""
        try:
            record = cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return record if isinstance(record.files, dict) and isinstance(record.links, list) else None

    def save(self, path: Path) -> None:
        """Write the record; WriterError if that fails."""
        atomic_write(path, json.dumps(asdict(self), sort_keys=True).encode())

    def status(self, folder: Path, settings: str) -> FileStatus:
        """Compare the files below a folder with the record, and its settings with those of the run."""
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
        # A signature of an earlier version is the beginning of today's.
        return not self.photo or not file_signature(path).startswith(self.photo)


class Manifest:
    """Know the status of each image's files in one output of a run, write them, and assemble the shared files.

    Records lie in a hidden folder, one for each image, and for the shared files one beside that folder.

    Args:
        name: of the output: a format's, or of a table.
        folder: where its files lie.
        sign: hashes what decides the files of an image, given its id and its file.
        exporter: makes what turns instances into files, given the class names.
        files: the paths of an image's files below the folder, given its id.
        photo: the path, without suffix, at which the folder has the photo itself, given the image's id, or None.
        frames: where the frames of video files lie as images; None: in the folder.
        records: name of the folder of records.
        shared: the hash of what decides the shared files besides the records; None: there are none.
        keep_others: leave shared files that an earlier run made and this one does not, such as lists of other splits.
        copy: copy photos to where the folder has them; otherwise links lead to them.
        overwrite: replace files that a person edited or made, too.

    Attributes:
        statuses: status of each image's files as `scan` found it.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        sign: Callable[[str, Path], str],
        exporter: Callable[[Sequence[str]], Exporter],
        *,
        files: Callable[[str], Sequence[str]] = lambda image_id: [],
        photo: Callable[[str], str] | None = None,
        frames: Path | None = None,
        records: str = RECORDS,
        shared: str | None = None,
        keep_others: bool = True,
        copy: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.name, self.folder, self.exporter, self.overwrite = name, folder, exporter, overwrite
        self.statuses: dict[str, FileStatus] = {}
        self._sign, self._files, self._photo, self._shared = sign, files, photo, shared
        self._frames, self._keep_others, self._copy = frames or folder, keep_others, copy
        self._images: dict[str, Path] = {}
        self._records, self._shared_record = folder / records, folder / f"{records}.json"

    def status(self, image_id: str, image: Path) -> FileStatus:
        """Compare the files of an image, itself in the file `image`, with what the run would write."""
        if record := self._record(image_id):
            status = record.status(self.folder, self._sign(image_id, image))
            linked = self._copy and any((self.folder / name).is_symlink() for name in record.links)
            return FileStatus.REFRESH if linked and status is FileStatus.DONE else status
        made = any((self.folder / name).exists() for name in self._files(image_id))
        return FileStatus.EDITED if made else FileStatus.NEW

    def scan(self, image_ids: Sequence[str], images: Sequence[Path], session: Session) -> None:
        """Find the status of each image's files; each process looks at a part of them."""
        shard = session.shard(range(len(image_ids)))
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda i: self.status(image_ids[i], images[i]), shard))
        statuses = dict(session.gather(list(zip(shard, found))))
        self.statuses = {image_id: statuses[i] for i, image_id in enumerate(image_ids)}
        self._images = dict(zip(image_ids, images))

    def is_to_write(self, status: FileStatus) -> bool:
        """Return whether the run writes files of this status."""
        return status in (FileStatus.NEW, FileStatus.OUTDATED) or (status is FileStatus.EDITED and self.overwrite)

    def write(self, image_id: str, image: Path, exported: Exported) -> bool:
        """Replace the image's files; only with `overwrite` if one of them is not known and would be another.

        Returns:
            whether they were written.

        Raises:
            WriterError: no space, no permission.
        """
        names = {*exported.files, *exported.links}
        assert all(self._is_own(image_id, name) for name in names), f"{self.name}: the table of formats lacks {names}"
        before = self._record(image_id) or Record()
        if not self.overwrite and self._is_taken(exported, before):
            return False
        remove_files(self.folder, (*before.files, *before.links))
        hashes = {name: hash_of(content) for name, content in exported.files.items()}
        links, photo = sorted(exported.links), file_signature(image) if exported.links else ""
        record = Record(self._sign(image_id, image), hashes, links, photo, exported.record)
        record.save(self._record_path(image_id))
        for name, content in exported.files.items():
            atomic_write(self.folder / name, content)
        for name, target in exported.links.items():
            atomic_link(self.folder / name, target, copy=self._copy)
        return True

    def is_edited(self, image_id: str) -> bool:
        """Return whether a person edited or made a file of an image, whatever the settings."""
        if record := self._record(image_id):
            return record.status(self.folder, "") is FileStatus.EDITED
        return any((self.folder / name).exists() for name in self._files(image_id))

    def remove(self, image_id: str) -> None:
        """Remove the files and the record of an image that nobody edited."""
        if record := self._record(image_id):
            remove_files(self.folder, (*record.files, *record.links))
            remove_files(self._records, [f"{image_id}.json"])

    def refresh(self, image_id: str) -> None:
        """Bring up to date what needs no model."""
        record = self._record(image_id)
        for name in record.links if record else ():
            atomic_link(self.folder / name, self._images[image_id], copy=self._copy)

    def is_assembled(self, image_ids: Sequence[str]) -> bool:
        """Return whether all is up to date, the shared files with the records that these images have now."""
        if self._shared is None or FileStatus.REFRESH in self.statuses.values():
            return FileStatus.REFRESH not in self.statuses.values()
        record = Record.read(self._shared_record)
        if record is None or not all((self.folder / name).exists() for name in record.files):
            return False
        return record.settings == self._shared_hash(image_ids)

    def assemble(self, exporter: Exporter, image_ids: Sequence[str]) -> list[Path]:
        """Bring up to date what needs no model; write the shared files from the records of images that have one.

        Only one process may do so, when the records of all images are written. Shared files of other runs stay, such as
        the list of another split, and so do files that a person edited, unless `overwrite` is set.

        Returns:
            the edited files that were left.

        Raises:
            WriterError: no space, no permission.
        """
        for image_id in (each for each in image_ids if self.statuses.get(each) is FileStatus.REFRESH):
            self.refresh(image_id)
        if self._shared is None:
            return []
        made = exporter.assemble(self._exported_records(image_ids))
        before = Record.read(self._shared_record) or Record()
        hashes = {name: hash_of(content) for name, content in made.items()}
        found = {name: file_hash(self.folder / name) for name in made}
        ours = {name: found[name] in (None, before.files.get(name), hashes[name]) for name in made}
        edited = [] if self.overwrite else [name for name in made if not ours[name]]
        stale = [name for name in made if name not in edited and found[name] != hashes[name]]
        others = {name: known for name, known in before.files.items() if (self.folder / name).exists()}
        left = {} if self._keep_others else {name: others[name] for name in others if name not in made}
        gone = [name for name in left if file_hash(self.folder / name) == left[name]]
        known = {name: others[name] for name in others if name not in gone}
        known |= {name: hashes[name] for name in made if name not in edited}
        remove_files(self.folder, [*stale, *gone])
        settings = self._shared_hash(image_ids)
        if (settings, known) != (before.settings, before.files):
            Record(settings, known).save(self._shared_record)
        for name in stale:
            atomic_write(self.folder / name, made[name])
        return [self.folder / name for name in edited]

    def _record_path(self, image_id: str) -> Path:
        return safe_path(self._records, image_id, ".json")

    def _record(self, image_id: str) -> Record | None:
        """Read the record of an image; None if there is none, or it names files that no run makes for this image."""
        record = Record.read(self._record_path(image_id))
        names = (*record.files, *record.links) if record else ()
        return record if all(self._is_own(image_id, name) for name in names) else None

    def _is_own(self, image_id: str, name: str) -> bool:
        """Return whether a run would make a file of this name for the image; nothing else is compared or removed."""
        stem = self._photo(image_id) if self._photo else None
        is_photo = stem is not None and name.startswith(stem) and name[len(stem) :].lower() in IMAGE_SUFFIXES
        return is_photo or name in self._files(image_id)

    def _is_taken(self, exported: Exported, before: Record) -> bool:
        """Return whether a file that no record names is where another one is to be."""
        for name in {*exported.files, *exported.links} - {*before.files, *before.links}:
            if found := file_hash(self.folder / name):
                content = exported.files.get(name)
                if found != (file_hash(exported.links[name]) if content is None else hash_of(content)):
                    return True
        return False

    def _exported_records(self, image_ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Read what the exporter recorded of each image that has a record, in order."""
        for image_id in image_ids:
            if record := Record.read(self._record_path(image_id)):
                names = [*record.files, *record.links]
                yield image_id, {**({"files": names} if names else {}), **record.record}

    def _shared_hash(self, image_ids: Iterable[str]) -> str:
        """Hash what decides the shared files: their own settings, and all records in their order."""
        digest = hashlib.sha256((self._shared or "").encode())
        for image_id in image_ids:
            content = file_hash(self._record_path(image_id))
            digest.update(json.dumps([image_id, content]).encode())
        return digest.hexdigest()


class LabelmeManifest(Manifest):
    """Know labelme files, one an image: each records within itself what it was made from, so that it can be moved.

    Args:
        review_below: the limit of the flag `needs_review`, which is set anew without the models.
    """

    def __init__(self, *args: Any, review_below: float | None = None, **others: Any) -> None:
        super().__init__(*args, **others)
        self._review_below = review_below

    def status(self, image_id: str, image: Path) -> FileStatus:
        """Compare the file of an image with what the run would write; one without a stamp is a person's."""
        path = safe_path(self.folder, image_id, ".json")
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return FileStatus.NEW
        except OSError:
            return FileStatus.EDITED
        annotation = parse_if_unmodified(content)
        if annotation is None:
            return FileStatus.EDITED
        named, photo = path.parent / str(annotation.get("imagePath")), photo_path(image_id, image, self._frames)
        is_same = os.path.realpath(named) == os.path.realpath(photo)
        if not is_same or annotation.get(SETTINGS) != self._sign(image_id, image):
            return FileStatus.OUTDATED
        shapes = annotation["shapes"]
        if self._review_below is not None and not all("confidence" in shape for shape in shapes):
            return FileStatus.OUTDATED  # an earlier version's
        is_flagged = all(self._flagged(shape)["flags"] == (shape.get("flags") or {}) for shape in shapes)
        return FileStatus.DONE if is_flagged else FileStatus.REFRESH

    def write(self, image_id: str, image: Path, exported: Exported) -> bool:
        """Replace the image's file; `status` has told whether that may be."""
        ((_, content),) = exported.files.items()
        atomic_write(safe_path(self.folder, image_id, ".json"), add_stamp(content, self._sign(image_id, image)))
        return True

    def is_edited(self, image_id: str) -> bool:
        """Return whether a person edited or made the file of an image."""
        path = safe_path(self.folder, image_id, ".json")
        return path.is_file() and parse_if_unmodified(path.read_bytes()) is None

    def remove(self, image_id: str) -> None:
        """Remove the file of an image that nobody edited."""
        remove_files(self.folder, [f"{image_id}.json"])

    def refresh(self, image_id: str) -> None:
        """Set the review flags of an image's file anew, unless a person edited it meanwhile."""
        path = safe_path(self.folder, image_id, ".json")
        if annotation := parse_if_unmodified(path.read_bytes()):
            settings = annotation.pop(SETTINGS)
            annotation["shapes"] = [self._flagged(shape) for shape in annotation["shapes"]]
            atomic_write(path, add_stamp(encode_json(annotation, indent=2), settings))

    def _flagged(self, shape: Mapping[str, Any]) -> dict[str, Any]:
        """Return a shape with the flag that the limit of the run gives it; its other flags stay."""
        others = {name: on for name, on in (shape.get("flags") or {}).items() if name != REVIEW_FLAG}
        return {**shape, "flags": {**others, **flags_of(shape.get("confidence"), self._review_below)}}
