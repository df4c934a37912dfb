"""The images of a run: found sound before it begins, then read ahead by threads, in batches of a fixed order."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from datasets.folder import Dataset, ImageFolder
from datasets.preflight import check_split
from datasets.video import ClipFolder, Clips, SameSizeFilter
from datasets.video_file import video_size
from datasets.voc import VocDataset
from utils.annotations.source import AnnotationFolder
from utils.classes import is_no_class, label_of, load_class_names, match_classes
from utils.cli.options import Options
from utils.cli.outputs import picture_folders
from utils.distributed import Session
from utils.errors import SampleError, UserError, refuse, refuse_all
from utils.formats.voc import CLASS_NAMES, map_files
from utils.io.image_files import image_size, is_video_name
from utils.structures import Sample
from utils.visual.overlay import overlay_path

PREFETCH = 2
"""How many batches are read ahead of the one in use; one more while the next one is waited for."""


class Batches:
    """The samples of a dataset, batch by batch; each iteration begins anew.

    Attributes:
        units: the positions in the dataset of what is done whole or not at all: a batch, or a clip, which makes up
            batches of its own. So leaving some out (finished ones, another process's) does not change the rest.
        preflight: checks the masks against a number of classes, where that waits for the detector to name them.
    """

    def __init__(self, dataset: Dataset, batch_size: int, num_workers: int) -> None:
        """Cut a dataset, or each of its clips, into batches; the last one may be smaller.

        Args:
            num_workers: threads that read ahead; 0 reads each batch when it is asked for. (Decoding releases the
                interpreter lock, so threads do.)
        """
        every = range(len(dataset))
        self.units: Sequence[range] = dataset.units if isinstance(dataset, Clips) else _cut(every, batch_size)
        self._dataset, self._batch_size, self._num_workers = dataset, batch_size, num_workers
        self.preflight: Callable[[int], None] | None = None

    @property
    def ids(self) -> list[str]:
        """The image ids of the whole dataset."""
        return self._dataset.ids

    @property
    def paths(self) -> list[Path]:
        """The image files of the whole dataset."""
        return self._dataset.paths

    @property
    def num_images(self) -> int:
        """Images in all units together."""
        return sum(map(len, self.units))

    def sizes(self, positions: Sequence[int]) -> list[tuple[int, int] | None]:
        """(height, width) in pixels of the upright images at these positions, from their headers; None: unreadable."""
        paths = [self._dataset.paths[position] for position in positions]
        once = list(dict.fromkeys(paths))  # frames of a video share its file
        with ThreadPoolExecutor(max(1, self._num_workers)) as pool:
            sizes = dict(zip(once, pool.map(_size, once)))
        return [sizes[path] for path in paths]

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        """The batches in order; a sample that cannot be used is replaced by what is wrong with it."""
        batches = (batch for unit in self.units for batch in _cut(unit, self._batch_size))
        held = SameSizeFilter()
        if self._num_workers:
            return self._read_ahead(batches, held)
        return ([held(self._load(index)) for index in batch] for batch in batches)

    def _read_ahead(self, batches: Iterator[range], held: SameSizeFilter) -> Iterator[list[Sample | SampleError]]:
        pool = ThreadPoolExecutor(self._num_workers, thread_name_prefix="read")
        decoder = ThreadPoolExecutor(1, thread_name_prefix="read video")  # whose frames only come one after the other
        begun: deque[list[Future[Sample | SampleError]]] = deque()
        try:
            for batch in batches:
                begun.append([(decoder if self._in_video(i) else pool).submit(self._load, i) for i in batch])
                if len(begun) > PREFETCH:
                    yield [held(future.result()) for future in begun.popleft()]
            while begun:
                yield [held(future.result()) for future in begun.popleft()]
        finally:  # also when the consumer stops early or is interrupted: what is being read is finished, no more is
            for each in (pool, decoder):
                each.shutdown(cancel_futures=True)

    def _in_video(self, index: int) -> bool:
        return is_video_name(self._dataset.paths[index].name)

    def _load(self, index: int) -> Sample | SampleError:
        try:
            return self._dataset.load(index)
        except SampleError as error:
            # A new one: the traceback of the old one would keep the file's content in memory until the end of the run.
            return SampleError(error.image_id, error.path, error.reason)

    def check_targets(self, num_classes: int) -> None:
        """Raises UserError if the dataset has masks with values outside the classes, unless that is checked already."""
        if self.preflight is not None:
            self.preflight(num_classes)


def _cut(positions: range, size: int) -> list[range]:
    """Consecutive parts of a size; the last one may be smaller."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return video_size(path) if is_video_name(path.name) else image_size(path)
    except ValueError:
        return None


def build_batches(options: Options, session: Session) -> Batches:
    """The images that the options ask for, with what else of them is needed, found sound as far as is known yet.

    Args:
        session: the processes of the run, each of which checks a part.

    Raises:
        UserError: the images, a split list, masks or annotations cannot be used, or overlays would replace some.
    """
    loader, classes = options.config.dataloader, options.config.dataset.classes
    dataset = _open_dataset(options)
    clips = {} if isinstance(dataset, ImageFolder) else dataset.clips
    batches = Batches(Clips(dataset, clips) if clips else dataset, loader.batch_size, loader.num_workers)
    _check_overlays(options, batches)
    problems = {
        f"annotations in {folder} ({option})": AnnotationFolder(folder, classes or ()).problems(batches, session)
        for option, folder in options.annotation_folders.items()
    }
    if isinstance(dataset, VocDataset):
        check = partial(
            check_split, dataset, session=session, masks=dataset.with_targets, may_lack=not dataset.with_truth
        )
        check(None if classes is None else len(classes), others=problems)
        batches.preflight = check if classes is None and dataset.with_targets else None
        if dataset.with_targets and classes and session.is_main:
            _warn_of_names(dataset.root / CLASS_NAMES, classes)
        if dataset.left_out and session.is_main:
            print(f"--video: images of the split {dataset.split} that lie in no clip, left out: {dataset.left_out}")
    else:
        refuse_all("The annotations of the photos cannot be used:", problems)
        if dataset.left_out and session.is_main:
            folders = ", ".join(map(str, dataset.left_out))
            print(f"-s/--source: in folders of outputs, left out: {sum(dataset.left_out.values())} ({folders})")
        if dataset.unread and session.is_main:
            kinds = Counter(path.suffix.lower() for path in dataset.unread).most_common()
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
            video = "; --video takes videos" if any(is_video_name(path.name) for path in dataset.unread) else ""
            print(f"warning: files of kinds that are not read, left out: {counts}{video}", file=sys.stderr)
    return batches


def _warn_of_names(path: Path, classes: Sequence[str]) -> None:
    """Says so where labels may mean others: the first class is the background, or a tree has classes elsewhere."""
    if is_no_class(classes[0]):
        print(
            f'warning: dataset.classes begins with "{classes[0]}", which label 1 then means; label 0 of a mask is the '
            "background in any case, so it belongs into no list",
            file=sys.stderr,
        )
        return
    try:
        listed = load_class_names(path)
    except UserError:  # there is none, or it is not made for us
        return
    theirs = listed[1:] if is_no_class(listed[0]) else listed
    moved = [(theirs[a], label_of(a), label_of(b)) for a, b in match_classes(theirs, classes).items() if a != b]
    for name, label, ours in moved[:1]:
        reason = f'there "{name}" has label {label}, in dataset.classes {ours}'
        print(f"warning: {path} does not fit dataset.classes: {reason}", file=sys.stderr)


def _check_overlays(options: Options, batches: Batches) -> None:
    """Raises UserError where overlays would take the place of images or videos of the run, or of masks."""
    if "visual" not in options.outputs:
        return
    look, root = options.config.predictor, options.config.dataset.data_dir
    places = {overlay_path(look.save_dir, image_id, look.format) for image_id in batches.ids}
    there = {_identity(place) for place in places} - {None}
    maps = (root / name for image_id in batches.ids for name in map_files(image_id)) if root else ()
    files = dict.fromkeys(chain(batches.paths, maps)) if there else {}
    reason = "overlays there would replace images or masks; choose another folder"
    refuse(f"predictor.save_dir: {look.save_dir}: {reason}:", [str(file) for file in files if _identity(file) in there])


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others, by whichever path; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_dataset(options: Options) -> ImageFolder | ClipFolder | VocDataset:
    if options.source:
        kind = ClipFolder if options.video else ImageFolder
        return kind(options.source, picture_folders(options.config))
    config = options.config.dataset
    assert config.data_dir is not None, "the command line refuses a run without images"
    return VocDataset(
        config.data_dir,
        config.split,
        config.label_map,
        options.needs_targets,
        with_truth=options.needs_truth,
        by_clips=options.video,
    )
