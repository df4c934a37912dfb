"""Packed masks come out as they went in; memory that is out halves the work."""

from __future__ import annotations

import io
import threading
import weakref
from collections import defaultdict
from contextlib import nullcontext
from itertools import chain
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from models import segmenter, transfer
from models.device_limits import OUT_OF_MEMORY, PATIENCE, OomRetry
from models.segmenter import preprocess
from models.transfer import HostSync, PackedMasks, Upload, to_device, to_host_async, upsampled
from utils.distributed import Session
from utils.io.png_files import encode_bits
from utils.masks import Mask

GPU = torch.device("cuda:1")


@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 131])
def test_packed_masks_are_the_masks(width: int) -> None:
    rng = np.random.default_rng(width)
    full = np.stack([rng.random((13, width)) < share for share in (0, 0.02, 0.1, 0.5, 1)])
    full[2, :, width // 2 :] = False
    for packed, array in zip(PackedMasks.from_masks(torch.from_numpy(full)).masks(), full, strict=True):
        mask = Mask.from_array(array)
        assert (packed.left, packed.top) == (mask.left, mask.top)
        assert packed.shape == mask.crop.shape
        np.testing.assert_array_equal(packed.packed(), mask.packed())
        assert ("crop" in vars(packed)) == (not mask.crop.size), "not unpacked so far"
        assert packed.crop.dtype == bool
        np.testing.assert_array_equal(packed.crop, mask.crop)
        if mask.crop.size:
            picture = Image.open(io.BytesIO(encode_bits(packed.packed(), packed.shape[1])))
            assert picture.mode == "1"
            np.testing.assert_array_equal(np.array(picture), mask.crop)


def test_images_are_waited_for_where_they_are_whatever_gpu_the_thread_has(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: dict[torch.device | None, Mock] = defaultdict(Mock)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: streams[device])
    upload, image = Upload([], torch.device("cpu")), Mock(spec=torch.Tensor, device=torch.device("cuda:1"))
    upload._images, upload._arrived = [image], Mock()
    assert upload.images() == [image]
    assert [*streams] == [image.device]
    streams[image.device].wait_event.assert_called_once_with(upload._arrived)
    image.record_stream.assert_called_once_with(streams[image.device])


def test_arrays_that_cannot_be_written_are_taken_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    array = np.asarray(Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)))
    assert not array.flags.writeable, "as Pillow gives them"
    torch.set_warn_always(True)
    try:
        sent = transfer.to_device(array, torch.device("cpu"))
    finally:
        torch.set_warn_always(False)
    assert not recwarn.list
    np.testing.assert_array_equal(sent.numpy(), array)


def test_images_are_pinned_side_by_side_and_arrive_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, both, gpus = torch.empty, threading.Barrier(2), list[torch.device]()

    def pinned(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory and threading.current_thread() is not threading.main_thread()
        both.wait(60)  # another one is being pinned at the same time
        return empty(shape, dtype=dtype)

    def sent(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        assert device == GPU and non_blocking
        return tensor

    monkeypatch.setattr(torch.cuda, "set_device", lambda device: gpus.append(device))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Mock(device=device))
    monkeypatch.setattr(transfer, "_copy_stream", lambda device, to: to)
    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "to", sent)
    images = [np.random.default_rng(i).integers(0, 256, (5 + i, 9, 3), np.uint8)[:, ::-1] for i in range(6)]
    found = Upload(images, GPU)._images
    for image, tensor in zip(images, found, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), image)
    assert gpus and set(gpus) == {GPU}, "the threads have the process's own GPU"


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.bool_])
def test_arrays_go_to_a_gpu_from_pinned_memory_as_they_are(
    kind: type[np.generic], monkeypatch: pytest.MonkeyPatch
) -> None:
    array, empty, pinned = (10 * np.random.default_rng(0).random((4, 5, 6))).astype(kind)[::2, :, ::-1], torch.empty, []

    def noted(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        pinned.append(empty(shape, dtype=dtype))
        return pinned[-1] if pin_memory else pytest.fail("not pinned")

    monkeypatch.setattr(torch, "empty", noted)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, non_blocking: tensor)
    sent = to_device(array, GPU)
    assert sent is pinned[0] and sent.dtype == torch.from_numpy(array.copy()).dtype
    np.testing.assert_array_equal(sent.numpy(), array)


def test_what_a_gpu_sends_is_waited_for_by_its_number() -> None:
    with pytest.raises(AssertionError, match="no tensor's device"):
        HostSync(torch.device("cuda"))


def test_a_tensor_on_the_host_is_where_it_was() -> None:
    tensor = torch.ones(3)
    assert to_host_async(tensor) is tensor


class Machine:
    """Has room for so many images."""

    def __init__(self, room: int) -> None:
        self.room, self.saved = room, 0
        self.tried: list[int] = []

    def work(self, part: slice) -> list[int]:
        self.tried.append(part.stop - part.start)
        if part.stop - part.start > self.room:
            raise torch.OutOfMemoryError("no room")
        return list(range(part.start, part.stop))

    def save(self, images: int, reason: str) -> None:
        assert reason == "no room"
        if images == 1:
            self.saved += 1
            self.room = 1


def test_work_goes_on_with_half_as_many_images_and_stays_with_them_for_a_while() -> None:
    machine = Machine(5)
    halving = OomRetry(machine.save)
    assert halving.summary_lines(Session()) == []
    assert list(chain(*halving(16, machine.work))) == list(range(16))
    assert machine.tried == [16, 8, 4, 4, 4, 4]
    assert list(chain(*halving(6, machine.work))) == list(range(6))
    assert machine.tried[6:] == [4, 2]
    assert halving.summary_lines(Session()) == ["GPU out of memory: went on with 4 images at a time"]
    assert halving(0, machine.work) == []


def test_nothing_stays_at_one_image_for_ever_and_what_is_in_vain_is_tried_ever_more_rarely() -> None:
    machine = Machine(1)
    halving = OomRetry(machine.save)
    halving(2, machine.work)
    machine.room, machine.tried = 99, []
    for _ in range(4 * PATIENCE):
        halving(4, machine.work)
    assert machine.tried[-1] == 4
    assert halving.summary_lines(Session()) == ["GPU out of memory: went on with 1 image at a time"]
    machine.room, machine.tried = 2, []
    for _ in range(20 * PATIENCE):
        halving(4, machine.work)
    assert machine.tried.count(4) < 6


@pytest.mark.parametrize("words", OUT_OF_MEMORY)
def test_libraries_say_in_their_own_words_that_memory_is_out(words: str) -> None:
    room = iter([RuntimeError(f"{words} when calling `cublasCreate(handle)`"), None, None])

    def work(part: slice) -> int:
        if error := next(room):
            raise error
        return part.stop

    assert OomRetry(lambda images, reason: None)(4, work) == [2, 4]


def test_other_errors_are_nobody_s_lack_of_memory() -> None:
    def work(part: slice) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        OomRetry(Machine(0).save)(4, work)


def test_what_a_failed_try_held_is_free_before_the_next_one() -> None:
    held: list[weakref.ref[Machine]] = []

    def work(part: slice) -> None:
        assert [each() for each in held] == [None] * len(held)
        machine = Machine(0)
        held.append(weakref.ref(machine))
        machine.work(slice(0, len(held) == 1))

    assert OomRetry(Machine(0).save)(4, work) == [None, None]
    assert len(held) == 3


def test_what_is_too_much_for_one_image_asks_for_more_savings() -> None:
    machine = Machine(0)
    assert list(chain(*OomRetry(machine.save)(3, machine.work))) == [0, 1, 2]
    assert machine.saved == 1


def test_masks_and_images_that_are_scaled_in_strips_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 176, 176, generator=generator)
    image = torch.randint(0, 256, (901, 1203, 3), dtype=torch.uint8, generator=generator).numpy()
    whole = [upsampled(logits, size) for size in ((2051, 1777), (300, 901), (50, 60))]
    assert torch.equal(whole[0], F.interpolate(logits, (2051, 1777), mode="bilinear", align_corners=False) > 0)
    scaled = preprocess([image], 256, torch.device("cpu"))
    for module in (transfer, segmenter):
        monkeypatch.setattr(module, "STRIP_PIXELS", 50_000)
    for size, expected in zip(((2051, 1777), (300, 901), (50, 60)), whole):
        assert torch.equal(upsampled(logits, size), expected)
    assert torch.equal(preprocess([image], 256, torch.device("cpu")), scaled)
