"""The sink of every annotation format: what is missing or outdated is written, what a person edited is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import PurePath
from threading import Lock

from utils.annotations.fingerprint import file_hash
from utils.annotations.manifest import Manifest
from utils.annotations.records import FileStatus
from utils.distributed import Session
from utils.engine import RunSummary, SinkReport
from utils.errors import RunError, SampleError, UserError
from utils.io.terminal import counted
from utils.io.writers import Writers, safe_path
from utils.structures import Instances, Sample


class AnnotationSink:
    """Write the files of one format, or one table.

    Args:
        manifest: knows what is there already, makes the exporter, and writes.
        names: class names, indexed by class id.
        writers: whose threads do all that.
        image_ids: the images of the run, in order, whether they go through or are left out as finished.

    Raises:
        UserError: what a person edited is to be kept, but counts its classes by another list than the run.
    """

    def __init__(self, manifest: Manifest, names: Sequence[str], writers: Writers, image_ids: Sequence[str]) -> None:
        self._manifest, self._exporter = manifest, manifest.output.exporter(names)
        self._writers, self._ids = writers, image_ids
        self._edited = set() if manifest.output.overwrite else {*manifest.ids_of(FileStatus.EDITED)}
        self._check_classes(names)
        self._written: Counter[str] = Counter()
        self._written_ids: list[str] = []
        self._losses: Counter[str] = Counter()
        self._measures: defaultdict[str, list[float]] = defaultdict(list)
        self._unwritten: list[SampleError] = []
        self._lock = Lock()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Hand the image to the writers; only there is decided whether its files are written.

        Raises:
            UserError: the image id leads out of the folder.
            WriterError: an earlier file could not be written.
        """
        path = safe_path(self._manifest.folder, sample.image_id, "")
        self._writers.submit(path, lambda: self._export(sample, instances))

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Put the shared files together, in the first process; say what was written and what was left.

        Raises:
            WriterError: a file could not be written.
            RunError: files that were written are gone.
        """
        self._writers.flush()
        self._manifest.index.save()
        lost = session.gather([image_id for image_id in self._written_ids if self._manifest.lacks(image_id)])
        if lost:
            files = f"the files of {counted(len(lost), 'image')}, such as {lost[0]}"
            fact = f"{files}, were removed while the run wrote there"
            raise RunError(f"{self._manifest.folder}: {fact}; run again: what is missing is written then")
        unwritten = session.gather(self._unwritten)  # here each process waits until all have written
        failed = {failure.image_id for failure in (*summary.failures, *unwritten)}
        usable = [image_id for image_id in self._ids if image_id not in failed] if failed else self._ids
        edited_files = self._manifest.assemble(self._exporter, usable) if session.is_main else []
        written, losses = session.sum_counts(self._written), session.sum_counts(self._losses)
        measures: defaultdict[str, list[float]] = defaultdict(list)
        for phrase, numbers in session.gather(list(self._measures.items())):
            measures[phrase] += numbers
        edited = len(set(session.gather(sorted(self._edited))))
        texts = [
            *self._exporter.summary_lines(written["shapes"], written["images"], self._manifest.folder),
            *(f"{loss}: {count}" for loss, count in sorted(losses.items()) if count),
            *(
                f"{phrase}: mean {sum(numbers) / len(numbers):.4f}, least {min(numbers):.4f}"
                for phrase, numbers in sorted(measures.items())
                if numbers
            ),
            *([f"edited annotations, kept: {edited}"] if edited else []),
            *(f"edited, kept: {path}" for path in edited_files),
        ]
        return SinkReport([f"{self._manifest.name}: {text}" for text in texts], unwritten)

    def _check_classes(self, names: Sequence[str]) -> None:
        """Refuse to write another list of classes beside edited files that count by the one that is there."""
        shared, pattern = self._manifest.shared, self._exporter.class_list
        if not self._edited or shared is None or pattern is None:
            return
        record = shared.record()
        name = next((each for each in record.files if PurePath(each).match(pattern)), None) if record else None
        if record is None or name is None or file_hash(path := self._manifest.folder / name) != record.files[name]:
            return  # none is there, or a person's, which stays
        before = self._exporter.read_class_list(path)
        pairs = enumerate(zip_longest(before, names[: len(before)]))
        if other := next((f"{i} is {then}; in this run it is {now}" for i, (then, now) in pairs if then != now), None):
            edited = f"{counted(len(self._edited), 'edited image')}, such as {min(self._edited)}"
            advice = "-o DIR writes elsewhere, --overwrite replaces what was edited"
            raise UserError(f"{self._manifest.name}: {edited}: classes count by {path}, where {other}; {advice}")

    def _export(self, sample: Sample, instances: Instances) -> None:
        """Write an image's files unless they are there; called in a thread."""
        status = self._manifest.status(sample.image_id, sample.path)
        if status in (FileStatus.DONE, FileStatus.REFRESH):
            return
        if not self._manifest.is_to_write(status):
            self._edited.add(sample.image_id)
            return
        try:
            if problem := self._manifest.name_problem(sample.image_id):
                raise SampleError(sample.image_id, sample.path, f"{self._manifest.name}: {problem}")
            exported = self._exporter.export(sample, instances)
        except SampleError as error:
            self._unwritten.append(error)
            return
        if not self._manifest.write(sample.image_id, sample.path, exported):
            self._edited.add(sample.image_id)
            return
        with self._lock:
            self._written.update(images=1, shapes=exported.shapes)
            self._written_ids.append(sample.image_id)
            self._losses.update(exported.losses)
            for phrase, numbers in exported.measures.items():
                self._measures[phrase].extend(numbers)
