"""The annotation formats and tables that a run makes, each with its exporter and with what is known to be on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from utils.annotations.diff import DiffExporter, References
from utils.annotations.fingerprint import Origin, fingerprint, origin_of
from utils.annotations.records import Ledger, RecordedFiles, SharedFiles, State
from utils.annotations.review import ReviewExporter
from utils.annotations.sink import AnnotationSink, FrameSink, TableSink
from utils.annotations.stamps import StampedFiles
from utils.cli.options import Options
from utils.distributed import Session
from utils.engine import Cascade, Result, RunImages, Sink
from utils.errors import UserError, refuse
from utils.formats.base import FRAME_SUFFIX, Exporter, ExportSettings, Format, format_folder
from utils.formats.frames import QUALITY, FrameExporter
from utils.formats.registry import FORMATS
from utils.formats.voc import map_files
from utils.formats.yolo import escape_images_dir
from utils.io.image_files import is_video_name
from utils.io.writers import Writers
from utils.prompts.prompts import Prompts
from utils.structures import Sample
from utils.terminal import say
from utils.visual.overlay import overlay_path

PLACES: Mapping[Format, Callable[[str], Sequence[str]]] = {
    "coco": lambda image_id: (),
    "yolo": lambda image_id: [f"labels/{escape_images_dir(image_id)}.txt"],
    "voc": map_files,
}
"""Formats whose files carry no stamp -> where those of an image lie."""

OWN: Mapping[Format, Sequence[str]] = {
    "labelme": ("review_below",),
    "labelme-polygon": ("polygon_tolerance", "review_below"),
    "coco": ("polygon_tolerance", "coco_segmentation"),
    "yolo": ("polygon_tolerance",),
    "voc": (),
}
"""Format -> which keys of `auto_mask` change its files."""


@dataclass(frozen=True)
class Task:
    """One format or table.

    Attributes:
        name: the format's or the table's.
        ledger: what is there.
        exporter: makes its exporter, given the class names.
        shared: the files that all images share, or None.
        sink: the kind of sink.
    """

    name: str
    ledger: Ledger
    exporter: Callable[[Sequence[str]], Exporter]
    shared: SharedFiles | None = None
    sink: type[AnnotationSink] = AnnotationSink


def build_tasks(options: Options, images: RunImages, prompts: Prompts | None = None) -> list[Task]:
    """The tasks of a run, formats first; none when it writes no annotations.

    Args:
        images: those of the run, in all its units.
        prompts: the boxes of a prompt file, or None.

    Raises:
        UserError: there is nothing to compare with, the run would replace what it compares with or reads, write
            frames of videos among the clips, or overlays over them.
    """
    if "annotate" not in options.outputs:
        return []
    clips = [[(images.ids[i], images.paths[i]) for i in unit] for unit in images.units] if options.video else []
    origin = origin_of(options, prompts, clips)
    formats = list(dict.fromkeys(options.config.auto_mask.formats))
    tasks = [_format(name, options, origin) for name in formats]
    if filmed := [image_id for image_id, path in zip(images.ids, images.paths) if is_video_name(path.name)]:
        _check_apart(options)
        _check_overlays(options, images.ids, filmed, formats)
        if formats != ["yolo"]:  # which has frames itself
            tasks.insert(0, _frames(options, set(filmed), origin))
    tasks.append(_review(options, origin))
    return [*tasks, _diff(options, options.diff, images.ids, origin)] if options.diff else tasks


def _check_apart(options: Options) -> None:
    """Raises UserError where frames of videos would be written among the clips."""
    folder = options.config.auto_mask.save_dir
    for source in map(os.path.realpath, options.source):
        if Path(os.path.realpath(folder)).is_relative_to(source):
            advice = f"for the next run, the frames of videos there would be further clips of {source}"
            raise UserError(f"auto_mask.save_dir: {folder}: {advice}; choose a folder outside it")


def _check_overlays(options: Options, image_ids: Sequence[str], filmed: Sequence[str], formats: list[Format]) -> None:
    """Raises UserError where overlays would take the place of frames of videos."""
    if "visual" not in options.outputs:
        return
    look, folder = options.config.predictor, Path(os.path.realpath(options.config.auto_mask.save_dir))
    stems = [folder / image_id for image_id in filmed if formats != ["yolo"]]
    if "yolo" in formats:
        stems += [format_folder(folder, "yolo") / "images" / escape_images_dir(image_id) for image_id in filmed]
    frames = {f"{stem}{FRAME_SUFFIX}" for stem in stems}
    real = Path(os.path.realpath(look.save_dir))
    overlays = [str(overlay_path(real, image_id, look.format)) for image_id in image_ids]
    reason = "overlays there would replace the frames of videos that annotating writes; choose another folder"
    refuse(f"predictor.save_dir: {look.save_dir}: {reason}:", [place for place in overlays if place in frames])


def _frames(options: Options, filmed: Collection[str], origin: Origin) -> Task:
    """The frames of video files; their images depend on nothing but the videos."""

    def sign(image_id: str, image: Path) -> str:
        return fingerprint(["frames", QUALITY, origin.mark(image)])

    def places(image_id: str) -> Sequence[str]:
        return [f"{image_id}{FRAME_SUFFIX}"] if image_id in filmed else []

    ledger = RecordedFiles(options.config.auto_mask.save_dir, sign, places, records=".frames")
    return Task("frames", ledger, lambda names: FrameExporter(), sink=FrameSink)


def _format(name: Format, options: Options, origin: Origin) -> Task:
    auto_mask, split = options.config.auto_mask, options.config.dataset.split
    folder = format_folder(auto_mask.save_dir, name)
    if options.annotations and os.path.realpath(folder) == os.path.realpath(options.annotations):
        raise UserError(f"-a/--annotations {folder}: {name} files would be written there; set auto_mask.save_dir")
    settings = origin.settings(name, {key: getattr(auto_mask, key) for key in OWN[name]})

    def exporter(names: Sequence[str]) -> Exporter:
        form = auto_mask.polygon_tolerance, auto_mask.coco_segmentation, auto_mask.review_below
        return FORMATS[name](ExportSettings(folder, names, split, *form, frames=auto_mask.save_dir))

    if name not in PLACES:
        return Task(name, StampedFiles(folder, origin.signer(settings), auto_mask.save_dir), exporter)
    ledger = RecordedFiles(folder, origin.signer(settings), PLACES[name])
    return Task(name, ledger, exporter, SharedFiles(ledger, fingerprint([settings, split]), options.overwrite))


def _review(options: Options, origin: Origin) -> Task:
    auto_mask = options.config.auto_mask
    settings = origin.settings("review", {"below": auto_mask.review_below})
    ledger = RecordedFiles(auto_mask.save_dir, origin.signer(settings), records=".review")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("review", ledger, lambda names: ReviewExporter(names, auto_mask.review_below), shared, TableSink)


def _diff(options: Options, folder: Path, image_ids: Sequence[str], origin: Origin) -> Task:
    auto_mask = options.config.auto_mask
    own = os.path.realpath(folder) == os.path.realpath(auto_mask.save_dir)
    if own and options.overwrite:
        raise UserError(f"--diff {folder}: --overwrite would replace the annotations there that it compares with")
    references, low = References(folder, own), auto_mask.low_overlap
    if not any(references.path(image_id).is_file() for image_id in image_ids):
        first = references.path(image_ids[0])
        raise UserError(f"--diff {folder}: no annotation of an image of the run; the first one's would be {first}")
    settings = origin.settings("diff", {"low": low})
    ledger = RecordedFiles(auto_mask.save_dir, origin.signer(settings, references.mark), records=".diff")
    shared = SharedFiles(ledger, settings, options.overwrite)
    return Task("diff", ledger, lambda names: DiffExporter(names, references, low), shared, TableSink)


class AnnotationPlan:
    """What there is to do.

    Args:
        options: of the run.
        images: of the run; batches of which every image is finished are left out if the run only annotates.
        prompts: the boxes of a prompt file, or None.
        session: the processes of the run, each of which has the same plan: none writes before all have looked.

    Attributes:
        units: those of the run that are to be worked on.
        nothing_to_do: whether nothing is left to do, or nothing is to be done.

    Raises:
        UserError: as `build_tasks`.
    """

    def __init__(self, options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> None:
        self._tasks = build_tasks(options, images, prompts)
        self._ids, self._overwrite, self._dry = images.ids, options.overwrite, options.dry_run
        self._states = [_states(task, images, session) for task in self._tasks]
        only = options.outputs == ("annotate",)
        self._needed = {image_id for i, image_id in enumerate(self._ids) if not only or self._unfinished(i)}
        self.units = [unit for unit in images.units if any(self._ids[i] in self._needed for i in unit)]
        if options.video:  # what lies before a frame decides its tracks
            self._needed = {self._ids[i] for unit in self.units for i in unit}
        shared = [task.shared for task in self._tasks if task.shared]
        done = only and not self.units and all(each.fresh(self._ids) for each in shared)
        self.nothing_to_do = self._dry or session.gather([done])[0]

    def lines(self) -> list[str]:
        """For each format with something there, what becomes of how many images; in a dry run for all."""
        shown = [
            (task, Counter(states))
            for task, states in zip(self._tasks, self._states)
            if self._dry or (task.sink is AnnotationSink and set(states) != {State.NEW})
        ]
        return [f"{task.name}: {self._fates(counts)}; {task.ledger.folder}" for task, counts in shown]

    def sinks(self, names: Sequence[str], writers: Writers) -> list[Sink]:
        """The sinks of all formats.

        Args:
            names: class names, indexed by class id.
        """
        return [self._sink(task, states, names, writers) for task, states in zip(self._tasks, self._states)]

    def skip_finished(self, cascade: Cascade) -> Cascade:
        """The cascade, spared the batches of which only images that cannot be read are unfinished."""
        return _Sparing(cascade, self._needed)

    def _sink(self, task: Task, states: Sequence[State], names: Sequence[str], writers: Writers) -> Sink:
        edited = [image_id for image_id, state in zip(self._ids, states) if state is State.EDITED]
        return task.sink(
            task.name,
            task.exporter(names),
            task.ledger,
            writers,
            self._ids,
            shared=task.shared,
            overwrite=self._overwrite,
            edited=edited,
        )

    def _unfinished(self, index: int) -> bool:
        """Whether files of an image are to be written in any format."""
        finished = {State.DONE} if self._overwrite else {State.DONE, State.EDITED}
        return any(states[index] not in finished for states in self._states)

    def _fates(self, counts: Counter[State]) -> str:
        fates = {
            State.NEW: "to write",
            State.OUTDATED: "to write again, made with other settings or from another image",
            State.DONE: "done",
            State.EDITED: "edited, to be replaced" if self._overwrite else "edited and kept",
        }
        return ", ".join(f"{counts[state]} {fate}" for state, fate in fates.items() if counts[state])


class _Sparing:
    """A cascade that passes over batches without an image that is needed."""

    def __init__(self, cascade: Cascade, needed: Collection[str]) -> None:
        self._cascade, self._needed = cascade, needed

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        needed = any(sample.image_id in self._needed for sample in samples)
        return self._cascade(samples) if needed else iter(())

    def summary_lines(self, session: Session) -> list[str]:
        return self._cascade.summary_lines(session)


def plan_annotations(options: Options, images: RunImages, prompts: Prompts | None, session: Session) -> AnnotationPlan:
    """The plan of a run, printed by its first process; see AnnotationPlan."""
    plan = AnnotationPlan(options, images, prompts, session)
    say(plan.lines())
    return plan


def _states(task: Task, images: RunImages, session: Session) -> list[State]:
    """How the files of each image stand; each process looks at a part of them."""
    every = range(len(images.ids))
    share = session.shard(every)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda i: task.ledger.state(images.ids[i], images.paths[i]), share))
    states = dict(session.gather(list(zip(share, found))))
    return [states[i] for i in every]
