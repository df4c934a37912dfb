"""A GPU is told all of a batch at once: nothing asks it for a value, none of its tensors meets one of another device.

Fake tensors stand for those of a GPU: they have a device, a shape and a type, but no values, so that whatever would
have to wait for one raises.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sam2.modeling.sam.transformer import RoPEAttention
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import sam2_video, segmenter, transfer
from models.sam2_build import build_sam2
from models.sam2_prepare import simplify
from models.sam2_video import Propagator
from models.segmenter import Segmenter
from models.transfer import PackedMasks

CONFIG = str(Path(__file__).parents[2] / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml")
NO_DRIVER_NEEDED = hasattr(torch._C, "_ensureCUDADeviceGuardSet")  # by a fake tensor of CUDA, in newer torch
GPU = torch.device("cuda:1" if NO_DRIVER_NEEDED else "meta")
"""Not the first GPU: what goes to just any is there, and does not fit. "meta" is another device as well as it is."""

SIZES = [(90, 160), (40, 61), (90, 160), (10, 10)]


class WithoutFloat64(TorchDispatchMode):
    """Refuses what MPS has not got."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            assert not (isinstance(each, torch.Tensor) and each.device == GPU and each.dtype == torch.float64), function
        return result


def moved(model: torch.nn.Module, mode: FakeTensorMode) -> torch.nn.Module:
    """The model with fake parameters, buffers and constants on the GPU."""
    for part in model.modules():
        if isinstance(part, RoPEAttention):  # at its first use it moves them by itself
            with mode:
                part.freqs_cis = torch.empty(part.freqs_cis.shape, dtype=part.freqs_cis.dtype, device=GPU)
        for tensors in (part._parameters, part._buffers):
            fakes = {name: mode.from_tensor(tensor.detach()) for name, tensor in tensors.items() if tensor is not None}
            with mode:
                tensors.update({name: torch.nn.Parameter(fake.to(GPU), False) for name, fake in fakes.items()})
    return model


def fake_gpu(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> FakeTensorMode:
    """The mode in which tensors are fake; what these modules send to the GPU is fake, too."""
    mode = FakeTensorMode()

    def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
        with mode:  # not from the array's values: newer torch moves constants for real, and asks for a driver
            return torch.empty(array.shape, dtype=torch.from_numpy(array[:0]).dtype, device=device)

    for module in modules:
        monkeypatch.setattr(module, "to_device", to_device)
    if not NO_DRIVER_NEEDED:  # what goes by the kind of the device
        monkeypatch.setattr(torch, "autocast", lambda *args, **settings: nullcontext())
    return mode


@pytest.mark.slow
def test_nothing_waits_for_the_gpu_and_nothing_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = fake_gpu(monkeypatch, segmenter, transfer)
    monkeypatch.setattr(transfer, "to_host_async", lambda tensor: tensor)
    monkeypatch.setattr(transfer, "HostSync", lambda device: None)
    if not NO_DRIVER_NEEDED:  # what goes by the kind of the device
        monkeypatch.setattr(transfer, "masks_to_host_async", lambda full: PackedMasks.from_masks(full).masks)
    images = [np.zeros((*size, 3), np.uint8) for size in SIZES]
    boxes = [np.array([[1, 2, 30, 40]] * count, np.float32).reshape(-1, 4) for count in (3, 2, 1, 0)]
    model = moved(build_sam2(CONFIG, 128), mode)
    with mode, WithoutFloat64():
        simplify(model)
        batch = Segmenter(model, torch.float32, 2**20).launch(images, boxes)  # in several decodes
    sent = {place: masks for places, _, masks in batch._masks for place in places.tolist()}
    assert len(batch._scores) > 1
    for place, image in enumerate([0, 0, 0, 1, 1, 2]):
        masks, (height, width) = sent[place].__self__, SIZES[image]
        assert isinstance(masks, PackedMasks)
        assert masks.bits.shape[1:] == (height, -(-width // 8)) and masks.bits.device == GPU


class Arriving:
    """Stands for scores on their way to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        assert tensor.device == GPU
        self.count = len(tensor)

    def numpy(self) -> np.ndarray:
        return np.zeros(self.count, np.float32)


@pytest.mark.slow
def test_a_clip_is_followed_without_waiting_but_for_the_masks_of_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = fake_gpu(monkeypatch, segmenter, transfer, sam2_video)
    monkeypatch.setattr(sam2_video, "to_host_async", Arriving)
    monkeypatch.setattr(sam2_video, "_masks", lambda logits, *_: [logits.device] * len(logits))
    model = moved(build_sam2(CONFIG, 128, video=True), mode)
    frames, box = [np.zeros((90, 160, 3), np.uint8)] * 9, np.array([1, 2, 30, 40], np.float32)
    # sam2 itself sends the ages of its memories; newer torch would send them for real
    monkeypatch.setattr(torch, "tensor", lambda ages: torch.empty(len(ages)))
    with mode, WithoutFloat64():
        simplify(model)
        propagator = Propagator(model, torch.float32, non_overlap=True)
        propagator.reset((90, 160), len(frames))
        for i, backbone in enumerate(propagator.encode(frames)):
            found = propagator.step(i, backbone)
            if i in (0, 3):  # so that tracks of different ages are followed together
                found |= propagator.add_boxes({i: box, i + 1: box})
    assert [device for device, _ in found.values()] == [GPU] * 4
