from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageFolder
from datasets.loading import PREFETCH, Images
from utils.errors import SampleError
from utils.structures import Sample


class Slow:
    """A dataset that notes what is read; `broken` samples fail."""

    def __init__(self, count: int, broken: frozenset[int] = frozenset(), seconds: float = 0.0) -> None:
        self.count, self.broken, self.seconds = count, broken, seconds
        self.paths = [Path(f"{index}.jpg") for index in range(count)]
        self.begun: list[int] = []
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Sample:
        with self._lock:
            self.begun.append(index)
            self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds * (1 + index % 3))  # so that later ones overtake earlier ones
        if index in self.broken:
            raise SampleError(str(index), Path(f"{index}.jpg"), "broken")
        return Sample(str(index), Path(f"{index}.jpg"), np.zeros((2, 2, 3), np.uint8))


def wait_for(dataset: Slow, count: int) -> None:
    """Until that many samples were begun; gives up after a few seconds."""
    deadline = time.monotonic() + 5
    while len(dataset.begun) < count and time.monotonic() < deadline:
        time.sleep(0.001)


def reading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read")]


@pytest.mark.parametrize("num_workers", [0, 1, 4])
@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 16, [3]), (0, 4, [])]
)
def test_every_sample_once_in_order(num_workers: int, count: int, batch_size: int, sizes: list[int]) -> None:
    batches = Images(Slow(count, seconds=0.001), batch_size, num_workers).batches()
    got = list(batches)
    assert [len(batch) for batch in got] == sizes
    assert [int(sample.image_id) for batch in got for sample in batch] == list(range(count))
    assert batches.num_images == count
    assert len(list(batches)) == len(got)  # a second time


@pytest.mark.parametrize("num_workers", [0, 3])
def test_sample_that_cannot_be_used_keeps_its_place(num_workers: int) -> None:
    batches = list(Images(Slow(6, broken=frozenset({1, 5})), 3, num_workers).batches())
    assert [[type(entry) for entry in batch] for batch in batches] == [
        [Sample, SampleError, Sample],
        [Sample, Sample, SampleError],
    ]
    error = batches[1][2]
    assert isinstance(error, SampleError)
    assert (error.image_id, error.path, error.reason) == ("5", Path("5.jpg"), "broken")
    assert error.__traceback__ is None
    assert error.__context__ is None


def test_look_ahead_is_bounded() -> None:
    dataset = Slow(100)
    batches = iter(Images(dataset, 5, 4).batches())
    for number in range(1, 4):
        next(batches)
        wait_for(dataset, 5 * (number + PREFETCH))
        time.sleep(0.02)
        assert len(dataset.begun) == 5 * (number + PREFETCH)


def test_reading_goes_on_while_a_batch_is_in_use() -> None:
    dataset = Slow(6)
    batches = iter(Images(dataset, 2, 2).batches())
    next(batches)
    wait_for(dataset, 6)
    assert sorted(dataset.begun) == list(range(6))
    assert threading.current_thread().name not in dataset.threads


def test_consumer_that_stops_early_leaves_no_thread() -> None:
    dataset = Slow(1000, seconds=0.001)
    batches = iter(Images(dataset, 4, 3).batches())
    next(batches)
    batches.close()
    assert not reading()
    assert len(dataset.begun) <= 4 * (1 + PREFETCH)


def test_interrupt_ends_the_threads() -> None:
    def consume() -> None:
        for _ in Images(Slow(1000), 4, 3).batches():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert not reading()


def test_unexpected_error_is_not_swallowed() -> None:
    class Faulty(Slow):
        def load(self, index: int) -> Sample:
            raise RuntimeError(f"a mistake in our code at {index}")

    with pytest.raises(RuntimeError, match="at 0"):
        list(Images(Faulty(8), 4, 3).batches())
    assert not reading()


def test_sizes_are_read_without_the_pixels(tmp_path: Path) -> None:
    for name, size in {"a": (30, 20), "c": (5, 6)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert Images(ImageFolder([tmp_path]), 2, 0).sizes([2, 1, 0]) == [(6, 5), None, (20, 30)]


def test_units_can_be_dealt_out() -> None:
    images = Images(Slow(11), 3, 2)
    whole = [[s.image_id for s in batch] for batch in images.batches()]
    assert [len(batch) for batch in whole] == [3, 3, 3, 2]
    shards = [images.batches(images.units[rank::2]) for rank in range(2)]
    assert [shard.num_images for shard in shards] == [6, 5]
    assert [[[s.image_id for s in batch] for batch in shard] for shard in shards] == [whole[0::2], whole[1::2]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_bounded_by_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int) -> None:
    sides = [4, 4, 4, 30, 4, 4, 10, 10, 10]
    for number, side in enumerate(sides):
        Image.new("L", (side, 10)).save(tmp_path / f"{number}.png")
    (tmp_path / "9.png").write_bytes(b"no image")
    monkeypatch.setattr("datasets.loading.MAX_PIXELS", 200)
    images = Images(ImageFolder([tmp_path]), 5, num_workers)
    batches = list(images.batches())
    assert [[int(entry.image_id) for entry in batch] for batch in batches] == [[0, 1, 2], [3], [4], [5, 6], [7, 8, 9]]
    assert images.units == [range(5), range(5, 10)]  # so that finished and dealt out ones are the same as ever


def test_large_images_are_not_read_far_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        Image.new("L", (30, 10)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr("datasets.loading.MAX_PIXELS", 200)
    folder, begun = ImageFolder([tmp_path]), list[int]()
    load = folder.load
    monkeypatch.setattr(folder, "load", lambda index: begun.append(index) or load(index))
    reading = iter(Images(folder, 4, 2).batches())
    next(reading)
    time.sleep(0.1)
    assert len(begun) <= 2
    reading.close()
