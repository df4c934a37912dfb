"""Check the images of a run before it begins, then read them ahead in threads, in batches of a fixed order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from datasets.folder import Dataset, ImageFolder
from datasets.preflight import check_split, missing_warnings
from datasets.video import ClipFolder, Clips, SameSizeFilter
from datasets.video_file import video_size
from datasets.voc import VocDataset
from utils.annotations.source import annotation_problems
from utils.class_map import ClassMap
from utils.classes import CLASS_NAMES, is_no_class, label_of, load_class_names, match_classes
from utils.cli.options import Options
from utils.cli.outputs import check_overlays, picture_folders
from utils.distributed import Session
from utils.errors import SampleError, UserError, refuse_all
from utils.files import is_special
from utils.io.image_files import heif_advice, image_size, is_video_name, set_largest_image
from utils.io.terminal import counted, say, warn
from utils.structures import Sample

PREFETCH = 2
"""How many batches are read ahead of the one in use; one more while the next one is waited for."""

MAX_PIXELS = 256_000_000
"""Of the images of a batch, and of all that are read ahead; a single larger image is a batch, too."""


class Images:
    """List the images of a run, in the order of their dataset, and make batches of them.

    Args:
        dataset: the samples.
        batch_size: images in a batch; the last one of the dataset, or of a clip, may be smaller.
        num_workers: threads that read ahead; 0 reads each batch when it is asked for. Threads suffice, since decoding
            releases the interpreter lock.
        check_masks: checks the masks against the number of classes, where only the detector tells it; see
            `check_gt_masks`.

    Attributes:
        units: the positions of the images of each batch or, in a dataset of clips, of each clip, which is cut into
            batches of its own. Leaving out units (finished ones, another process's) does not change the others.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, num_workers: int, check_masks: Callable[[int], None] | None = None
    ) -> None:
        self._dataset, self._batch_size, self._num_workers = dataset, batch_size, num_workers
        self._check_masks = check_masks
        every = range(len(dataset))
        self.units: Sequence[range] = dataset.units if isinstance(dataset, Clips) else _cut(every, batch_size)

    @property
    def ids(self) -> list[str]:
        """The image ids of the whole dataset."""
        return self._dataset.ids

    @property
    def paths(self) -> Sequence[Path]:
        """The image files of the whole dataset."""
        return self._dataset.paths

    def sizes(self, positions: Sequence[int]) -> list[tuple[int, int] | None]:
        """Return (height, width) in pixels of upright images, from their headers; None for unreadable ones."""
        paths = [self._dataset.paths[position] for position in positions]
        once = list(dict.fromkeys(paths))  # frames of a video share its file
        with ThreadPoolExecutor(max(1, self._num_workers)) as pool:
            sizes = dict(zip(once, pool.map(_size, once)))
        return [sizes[path] for path in paths]

    def check_gt_masks(self, num_classes: int) -> None:
        """Raise UserError if masks have values outside the classes, unless that is checked already."""
        if self._check_masks is not None:
            self._check_masks(num_classes)

    def batches(self, units: Sequence[range] | None = None) -> Batches:
        """Return the batches of some of the units, by default of all."""
        return Batches(self._dataset, self.units if units is None else units, self._batch_size, self._num_workers)


class Batches:
    """Read the samples of some units of a dataset, batch by batch; each iteration begins anew."""

    def __init__(self, dataset: Dataset, units: Sequence[range], batch_size: int, num_workers: int) -> None:
        self._dataset, self._units, self._batch_size, self._num_workers = dataset, units, batch_size, num_workers
        self._video_sizes: dict[Path, tuple[int, int]] = {}

    @property
    def ids(self) -> list[str]:
        """The image ids of the whole dataset."""
        return self._dataset.ids

    @property
    def num_images(self) -> int:
        """The number of images in all units together."""
        return sum(map(len, self._units))

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        """Yield the batches in order; a sample that cannot be used is replaced by its error."""
        same_size = SameSizeFilter()
        if self._num_workers:
            return self._read_ahead(same_size)
        return ([same_size(self._load(index)) for index in batch] for batch, _ in self._bounded(map))

    def _read_ahead(self, same_size: SameSizeFilter) -> Iterator[list[Sample | SampleError]]:
        pool = ThreadPoolExecutor(self._num_workers, thread_name_prefix="read")
        headers = ThreadPoolExecutor(self._num_workers, thread_name_prefix="read header")
        decoder = ThreadPoolExecutor(1, thread_name_prefix="read video")  # whose frames only come one after the other
        begun: deque[tuple[list[Future[Sample | SampleError]], int]] = deque()
        try:
            for batch, pixels in self._bounded(headers.map):
                while begun and (len(begun) > PREFETCH or sum(ahead for _, ahead in begun) + pixels > MAX_PIXELS):
                    yield [same_size(future.result()) for future in begun.popleft()[0]]
                futures = [(decoder if self._in_video(i) else pool).submit(self._load, i) for i in batch]
                begun.append((futures, pixels))
            while begun:
                yield [same_size(future.result()) for future in begun.popleft()[0]]
        finally:  # also when the consumer stops early or is interrupted: what is being read is finished, no more is
            for each in (pool, headers, decoder):
                each.shutdown(cancel_futures=True)

    def _bounded(self, map_ahead: Callable[..., Iterator[int]]) -> Iterator[tuple[range, int]]:
        """Yield the batches and how many pixels each has; cut those of more than `MAX_PIXELS` into smaller ones.

        Args:
            map_ahead: `map`, or that of a thread pool: it reads the headers of a batch while the one before is used.
        """
        waiting: deque[tuple[range, Iterator[int]]] = deque()
        for batch in (batch for unit in self._units for batch in _cut(unit, self._batch_size)):
            in_video = self._in_video(batch[0])  # as is the whole batch; the size is read once, by one thread
            waiting.append((batch, (map if in_video else map_ahead)(self._pixels, batch)))
            if len(waiting) > 1:
                yield from _cut_by_pixels(*waiting.popleft())
        while waiting:
            yield from _cut_by_pixels(*waiting.popleft())

    def _pixels(self, index: int) -> int:
        """Read the pixels of an image from its header; 0 if it cannot be read."""
        path = self._dataset.paths[index]
        if self._in_video(index) and path not in self._video_sizes:
            self._video_sizes[path] = _size(path) or (0, 0)
        height, width = self._video_sizes.get(path) or _size(path) or (0, 0)
        return height * width

    def _in_video(self, index: int) -> bool:
        return is_video_name(self._dataset.paths[index].name)

    def _load(self, index: int) -> Sample | SampleError:
        try:
            return self._dataset.load(index)
        except SampleError as error:
            # A new one: the traceback of the old one would keep the file's content in memory until the end of the run.
            return SampleError(error.image_id, error.path, error.reason)


def _cut(positions: range, size: int) -> list[range]:
    """Cut positions into consecutive parts of `size` positions; the last one may be smaller."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _cut_by_pixels(batch: range, pixels_of: Iterable[int]) -> Iterator[tuple[range, int]]:
    """Yield consecutive parts of a batch with at most `MAX_PIXELS`, or one image, each; and how many pixels each has.

    Args:
        pixels_of: how many pixels each image has.
    """
    start, total = batch.start, 0
    for index, pixels in zip(batch, pixels_of):
        if index > start and total + pixels > MAX_PIXELS:
            yield range(start, index), total
            start, total = index, 0
        total += pixels
    yield range(start, batch.stop), total


def _size(path: Path) -> tuple[int, int] | None:
    """Read (height, width) from the header of an image or a video; None if that fails."""
    try:
        return video_size(path) if is_video_name(path.name) else image_size(path)
    except ValueError:
        return None


def open_images(options: Options, session: Session) -> Images:
    """Find the images that the options ask for, and check what belongs to them as far as it is known yet.

    Args:
        session: the processes of the run, each of which checks a part.

    Raises:
        UserError: the images, a split list, masks or annotations cannot be used, or overlays would replace files.
    """
    loader, classes = options.config.dataloader, options.config.dataset.classes
    known = ClassMap.from_targets(classes or (), options.config.dataset.class_map if classes else {}).index
    set_largest_image(loader.max_megapixels)
    dataset = session.from_main(lambda: _open_dataset(options))
    clips = {} if isinstance(dataset, ImageFolder) else dataset.clips

    def check_masks(num_classes: int) -> None:
        if isinstance(dataset, VocDataset):
            dataset.num_classes = num_classes
            if classes is None and dataset.with_gt_masks:  # the detector has named them only now
                check_split(dataset, num_classes, session)

    images = Images(Clips(dataset, clips) if clips else dataset, loader.batch_size, loader.num_workers, check_masks)
    check_overlays(options, images.ids, images.paths)
    offset = options.prompt_overrides.category_offset
    problems = {
        f"annotations in {folder} ({option})": annotation_problems(
            folder, known, offset, images, session, label_map=bool(options.config.dataset.label_map)
        )
        for option, folder in options.annotation_folders.items()
    }
    if isinstance(dataset, VocDataset):
        check_split(dataset, None if classes is None else len(classes), session, others=problems)
        _report_split(dataset, classes)
    else:
        refuse_all("The annotations of the photos cannot be used:", problems)
        _report_photos(dataset)
    return images


def _report_split(dataset: VocDataset, classes: Sequence[str] | None) -> None:
    """Print which images are missing or listed twice, where labels may mean other classes, and which lie in no clip."""
    warn(missing_warnings(dataset))
    if dataset.repeated:
        lines = counted(dataset.repeated, "line repeats another", "lines repeat others")
        warn([f"the list of the split {dataset.split}: {lines}; each image counts once"])
    if dataset.with_gt_masks and classes:
        warn(_class_list_warnings(dataset.root / CLASS_NAMES, classes))
    if dataset.colors is not None and dataset.label_map:
        warn([f"dataset.label_map is for values of masks; their colors mean what {dataset.colors.path} says"])
    if dataset.left_out:
        say([f"--video: images of the split {dataset.split} that lie in no clip, left out: {dataset.left_out}"])


def _report_photos(dataset: ImageFolder | ClipFolder) -> None:
    """Print what lies in the folders and is not read."""
    if dataset.left_out:
        folders = ", ".join(map(str, dataset.left_out))
        count = sum(dataset.left_out.values())
        say([f"-s/--source: in folders of outputs or label maps, left out: {count} ({folders})"])
    if isinstance(dataset, ImageFolder) and dataset.with_suffix:
        which = f"{len(dataset.with_suffix)}, such as {dataset.with_suffix[0]}"
        say([f"-s/--source: files that differ in their suffix alone keep it in their ids and outputs: {which}"])
    if isinstance(dataset, ClipFolder) and (animations := dataset.animations):
        film = f"ffmpeg -i {animations[0].name} {animations[0].stem}.mp4 makes a video"
        warn([f"animations, of which only the first frame counts: {len(animations)}, such as {animations[0]}; {film}"])
    if dataset.unread:
        unread = dataset.unread
        kinds = Counter("pipe or device" if is_special(path) else path.suffix.lower() for path in unread).most_common()
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
        video = "; --video takes videos" if any(is_video_name(path.name) for path in unread) else ""
        advice = heif_advice(unread)
        warn([f"files of kinds that are not read, left out: {counts}{video}{advice and f'; {advice}'}"])


def _class_list_warnings(path: Path, classes: Sequence[str]) -> list[str]:
    """Say where labels may mean other classes: the list begins with the background, or a tree has another order."""
    if is_no_class(classes[0]):
        return [
            f'dataset.classes begins with "{classes[0]}", which label 1 then means; label 0 of a mask is the '
            "background in any case, so it belongs into no list"
        ]
    try:
        listed = load_class_names(path)
    except UserError:  # there is none, or it is not made for us
        return []
    theirs = listed[1:] if is_no_class(listed[0]) else listed
    moved = [(theirs[a], label_of(a), label_of(b)) for a, b in match_classes(theirs, classes).items() if a != b]
    return [
        f'{path} does not fit dataset.classes: there "{name}" has label {label}, in dataset.classes {ours}'
        for name, label, ours in moved[:1]
    ]


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
        config.classes,
        with_gt_masks=options.needs_gt_masks,
        with_gt_instances=options.needs_gt_instances,
        by_clips=options.video,
    )
