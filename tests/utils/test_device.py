"""Which device a run takes: one that is known and there, each process a GPU of its own."""

from __future__ import annotations

import pytest
import torch

from utils.device import choose_backend, choose_device
from utils.distributed import Session
from utils.errors import UserError


def test_what_has_no_device_named_goes_to_the_gpu_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch, "ones", lambda *shape, device: None)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("cuda", Session(rank=5, world_size=8, local_rank=1)) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]


def test_a_number_is_a_gpu_as_in_ultralytics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *shape, device: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert choose_device("1", Session()) == torch.device("cuda:1")
    with pytest.raises(UserError, match="--device 0,1: one process has one; torchrun --nproc_per_node=2"):
        choose_device("0,1", Session())


def test_a_gpu_that_is_too_old_for_this_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*shape: int, device: torch.device) -> None:
        if shape != (0,):  # else there is nothing to compute
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    for maker in ("empty", "zeros", "ones"):
        monkeypatch.setattr(torch, maker, fill)
    with pytest.raises(UserError, match=r"--device cuda:0: not available .*\(CUDA error: no kernel image is"):
        choose_device("0", Session())


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cpu:x"])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: "):
        choose_device(name, Session())


def test_openvino_is_refused_on_a_gpu() -> None:
    with pytest.raises(UserError, match="openvino runs on the CPU only, not on cuda:1; choose --device cpu, or"):
        choose_backend("openvino", torch.device("cuda:1"))


@pytest.mark.parametrize(
    ("capability", "installed", "device", "chosen"),
    [
        ("AVX512", True, "cpu", "openvino"),
        ("AVX512_VNNI", True, "cpu", "openvino"),
        ("AVX512", False, "cpu", "torch"),
        ("AVX512", True, "cuda:0", "torch"),
        ("AVX2", True, "cpu", "torch"),
        ("DEFAULT", True, "cpu", "torch"),
    ],
)
def test_auto_is_openvino_where_it_gains(
    capability: str, installed: bool, device: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    assert choose_backend("auto", torch.device(device)) == chosen
    assert choose_backend("torch", torch.device(device)) == "torch"
