"""Whole batches in a fixed order, read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from datasets.folder import ImageFolder
from datasets.preflight import check_split
from datasets.voc import VocDataset
from utils.distributed import Session
from utils.errors import SampleError
from utils.image_files import image_size
from utils.importers.annotations import AnnotationFolder
from utils.options import Options
from utils.problems import refuse_all
from utils.structures import Sample

AHEAD = 2
"""How many batches are read ahead of the one in use; one more while the next one is waited for."""


class Dataset(Protocol):
    """Samples by their position.

    Attributes:
        ids: their image ids.
        paths: the image files, in the order of `ids`.
    """

    ids: list[str]
    paths: list[Path]

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one sample; SampleError if it cannot be used."""


class Batches:
    """The samples of a dataset, batch by batch; each iteration begins anew.

    Attributes:
        units: the positions in the dataset that make up each batch. A unit is always done whole, so leaving some out
            (finished ones, another process's) does not change the rest.
        preflight: checks the masks against a number of classes, where that waits for the detector to name them.
    """

    def __init__(self, dataset: Dataset, batch_size: int, num_workers: int) -> None:
        """Cut a dataset into batches; the last one may be smaller.

        Args:
            num_workers: threads that read ahead; 0 reads each batch when it is asked for. (Decoding releases the
                interpreter lock, so threads do.)
        """
        count = len(dataset)
        self.units: Sequence[range] = [
            range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)
        ]
        self._dataset, self._num_workers = dataset, num_workers
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
        with ThreadPoolExecutor(max(1, self._num_workers)) as pool:
            return list(pool.map(_size, [self._dataset.paths[position] for position in positions]))

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        """The batches in order; a sample that cannot be used is replaced by what is wrong with it."""
        if self._num_workers:
            return self._read_ahead()
        return ([self._load(index) for index in unit] for unit in self.units)

    def _read_ahead(self) -> Iterator[list[Sample | SampleError]]:
        pool = ThreadPoolExecutor(self._num_workers, thread_name_prefix="read")
        begun: deque[list[Future[Sample | SampleError]]] = deque()
        try:
            for unit in self.units:
                begun.append([pool.submit(self._load, index) for index in unit])
                if len(begun) > AHEAD:
                    yield [future.result() for future in begun.popleft()]
            while begun:
                yield [future.result() for future in begun.popleft()]
        finally:  # also when the consumer stops early or is interrupted: what is being read is finished, no more is
            pool.shutdown(cancel_futures=True)

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


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except ValueError:
        return None


def build_batches(options: Options, session: Session) -> Batches:
    """The images that the options ask for, with what else of them is needed, found sound as far as is known yet.

    Args:
        session: the processes of the run, each of which checks a part.

    Raises:
        UserError: the images, a split list, masks or annotations cannot be used.
    """
    loader, classes = options.config.dataloader, options.config.dataset.classes
    dataset = _open_dataset(options)
    batches = Batches(dataset, loader.batch_size, loader.num_workers)
    problems = {
        f"annotations in {folder} ({option})": AnnotationFolder(folder, classes or ()).problems(batches, session)
        for option, folder in options.annotation_folders.items()
    }
    if isinstance(dataset, VocDataset):
        check = partial(check_split, dataset, session=session, masks=dataset.with_targets)
        check(None if classes is None else len(classes), others=problems)
        batches.preflight = check if classes is None and dataset.with_targets else None
    else:
        refuse_all("The annotations of the photos cannot be used:", problems)
    return batches


def _open_dataset(options: Options) -> Dataset:
    if options.source:
        return ImageFolder(options.source)
    config = options.config.dataset
    assert config.data_dir is not None, "the command line refuses a run without images"
    return VocDataset(
        config.data_dir, config.split, config.label_map, options.needs_targets, with_truth=options.needs_truth
    )
