"""The outputs of an annotating run, and which images are to be worked on for them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from utils.annotations.fingerprint import RunFingerprint
from utils.annotations.manifest import Manifest
from utils.annotations.outputs import diff_manifests, format_manifest, frame_manifests, is_apart, review_manifest
from utils.annotations.prune import find_orphans, prune, unused_edits
from utils.annotations.records import UNFINISHED, FileStatus
from utils.annotations.review import open_lines
from utils.annotations.scan import scan
from utils.annotations.sink import AnnotationSink
from utils.annotations.splits import assign_splits, split_lines
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, RunImages, Sink
from utils.formats.registry import FORMATS
from utils.io.terminal import say, warn
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample


@dataclass(frozen=True)
class AnnotationPlan:
    """Say what there is to do; without `annotate` among the outputs that is every image.

    Attributes:
        options: of the run.
        ids: its images.
        units: those to be worked on, not yet divided among the processes; if the run only annotates, without those of
            which every image is finished.
        nothing_to_do: whether all files are up to date, or the run is a dry one.
        manifests: one for each output.
        finished: the images in `units` that are finished; none in clips, whose tracks need every frame again.
        lines: for each format that has files already, how many images it has yet to write, has or keeps; in a dry run
            for every output.
        orphans: what has no photo any more, see `find_orphans`.
        prunable: the manifests of all that an orphan may have.
    """

    options: Options
    ids: Sequence[str]
    units: Sequence[range]
    nothing_to_do: bool
    manifests: Sequence[Manifest] = ()
    finished: Collection[str] = ()
    lines: Sequence[str] = ()
    orphans: Mapping[str, bool] = field(default_factory=dict)
    prunable: Sequence[Manifest] = ()

    @property
    def unfinished(self) -> list[int]:
        """Return the positions of the images that have no file or an outdated one, in any output."""
        return np.flatnonzero(_have_status(UNFINISHED, self.manifests, len(self.ids))).tolist()

    def prune_orphans(self) -> None:
        """Remove the annotations without photo if the options say so; print how many there are.

        Call this after the last check that may refuse the run, since nothing brings removed files back.
        """
        options = self.options
        if self.orphans:
            say([prune(self.orphans, self.prunable, keep=not options.prune, dry_run=options.dry_run)])

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """Make the sinks of all outputs.

        Args:
            names: class names, indexed by class id.
        """
        return [AnnotationSink(manifest, names, writers, self.ids) for manifest in self.manifests]

    def skip_finished(self, cascade: Cascade | None) -> Cascade:
        """Wrap a cascade, or None in runs that need no model: it skips batches of which all images are finished.

        `units` has no such batch; but where the unfinished images of a batch cannot be read, the others come alone.
        """
        return _SkipFinished(cascade, self.finished)


def plan_annotations(options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """Decide what there is to do: look at what every output has of each image.

    Args:
        options: of the run.
        images: of the run, in all its units.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which makes the same plan: none writes before all have looked.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, or write
            frames of videos among the clips.
    """
    own_units = options.own_units(images.units)
    if "annotate" not in options.outputs:
        return AnnotationPlan(options, images.ids, own_units, options.dry_run)
    # Of a shard only its own images are looked at.
    part = None if options.shard is None else [i for unit in own_units for i in unit]
    shard = "" if options.shard is None else "-{}-of-{}".format(*options.shard)

    fingerprint, splits = RunFingerprint(options, prompts, images), assign_splits(options, images)
    manifest_of = partial(format_manifest, options=options, fingerprint=fingerprint, splits=splits)
    formats = {name: manifest_of(name) for name in dict.fromkeys(options.config.auto_mask.formats)}
    files = [*frame_manifests(options, images, fingerprint), *formats.values()]
    review = review_manifest(options, images, fingerprint, [*formats.values()])
    tables = [review, *diff_manifests(options, images, fingerprint)]
    manifests = [*files, *tables]
    scan(manifests, fingerprint, images, session, part, shard)
    if session.is_main:
        warn(unused_edits(formats, images))
    units, finished = _units_to_do(options, images, own_units, manifests)
    whole = options.outputs == ("annotate",) and options.shard is None and not options.merge
    done = whole and not units and all(manifest.is_assembled(images.ids) for manifest in manifests)
    nothing_to_do = options.dry_run or session.gather([done])[0]  # the first process says it for all
    for manifest in manifests if not options.dry_run else ():
        manifest.index.save()
    orphans, others = dict[str, bool](), list[Manifest]()
    if session.is_main and options.shard is None:
        orphans = find_orphans(options.config.auto_mask.save_dir, images)
        others = [manifest_of(name) for name in FORMATS if name not in formats and is_apart(options, name)]
    return AnnotationPlan(
        options,
        images.ids,
        units,
        nothing_to_do,
        manifests,
        finished,
        lines=[
            *_status_lines(manifests, options, part),
            *([] if all(FORMATS[name].is_labelme for name in formats) else split_lines(splits, options)),
            *(open_lines(review.settings, False) if nothing_to_do and not options.dry_run else []),
        ],
        orphans=orphans,
        prunable=[*files, *others, *reversed(tables)],  # the review table, whose records tell of orphans, comes last
    )


def _units_to_do(
    options: Options, images: RunImages, own_units: Sequence[range], manifests: Sequence[Manifest]
) -> tuple[Sequence[range], Collection[str]]:
    """Return `units` and `finished` of the plan; `own_units` are those of the shard or the whole run."""
    if options.outputs != ("annotate",):
        return own_units, ()
    statuses = (*UNFINISHED, *([FileStatus.EDITED] if options.overwrite else []))
    needed = _have_status(statuses, manifests, len(images.ids))
    units = [unit for unit in own_units if needed[unit.start : unit.stop].any()]
    return units, () if options.video else {images.ids[i] for unit in units for i in unit if not needed[i]}


def _have_status(statuses: Sequence[FileStatus], manifests: Sequence[Manifest], count: int) -> npt.NDArray[np.bool_]:
    """Return (count,) bool: whether each image has one of these statuses in any output."""
    found = np.zeros(count, bool)
    for manifest in manifests:
        found |= np.isin(manifest.statuses, statuses)
    return found


def _status_lines(manifests: Sequence[Manifest], options: Options, part: Sequence[int] | None) -> Iterator[str]:
    """Say what becomes of how many images; of a shard its own, which are the `part`."""
    texts = {
        FileStatus.NEW: "to write",
        FileStatus.OUTDATED: "to write again, made with other settings or from another image",
        FileStatus.DONE: "done",
        FileStatus.REFRESH: "done, to be brought up to date without the models",
        FileStatus.EDITED: "edited, to be replaced" if options.overwrite else "edited and kept",
    }
    for manifest in manifests:
        counts = Counter((manifest.statuses if part is None else manifest.statuses[part]).tolist())
        if options.dry_run or (manifest.name in FORMATS and {*counts} - {FileStatus.NEW}):
            said = ", ".join(f"{counts[status]} {text}" for status, text in texts.items() if counts[status])
            yield f"{manifest.name}: {said}; {manifest.folder}"
    is_labelme = {
        manifest.name: FORMATS[manifest.name].is_labelme for manifest in manifests if manifest.name in FORMATS
    }
    edited = [m.folder for m in manifests if is_labelme.get(m.name) and FileStatus.EDITED in m.statuses]
    others = " ".join(name for name in is_labelme if not is_labelme[name])
    if edited and others and not (options.overwrite or options.annotations):
        advice = f"-a {shlex.quote(str(edited[0]))} --format {others} -o DIR takes it over"
        yield f"what a person edited in {edited[0]} is in no other format: {advice}"


class _SkipFinished:
    """Pass over batches of which all images are done; see `AnnotationPlan.skip_finished`."""

    def __init__(self, cascade: Cascade | None, done: Collection[str]) -> None:
        self._cascade, self._done = cascade, done

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        needed = any(sample.image_id not in self._done for sample in samples)
        return self._cascade(samples) if self._cascade and needed else iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return self._cascade.summary_lines(session) if self._cascade else []
