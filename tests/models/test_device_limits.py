"""Budgets of memory, and the check of attention, with the CPU in a GPU's place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.device_limits import CPU_CHUNK, check_attention, chunk_bytes, largest_batch
from models.sam2_build import build_sam2
from utils.errors import UserError

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


def test_a_decode_may_take_a_quarter_of_what_a_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (16 * 2**30, 24 * 2**30))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * 2**30)
    assert chunk_bytes("auto", CUDA) == 4 * 2**30
    assert chunk_bytes("auto", MPS) == 2 * 2**30
    assert chunk_bytes("auto", CPU) == CPU_CHUNK
    assert all(chunk_bytes(64, device) == 64 * 2**20 for device in (CPU, CUDA, MPS))


def test_no_tensor_of_a_decode_needs_indices_of_more_than_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (180 * 2**30, 192 * 2**30))
    assert chunk_bytes("auto", CUDA) / 5 < 2**31  # a pixel of a mask: float32 and bool
    assert chunk_bytes("auto", CUDA) / (4 * 2) < 2**31  # a feature: four copies in 16 bits


@pytest.mark.parametrize(
    ("side", "on_cuda", "on_mps"), [(512, 63, 4), (1024, 63, 4), (1280, 40, 3), (1536, 28, 1), (2048, 15, 1)]
)
def test_fewer_images_are_encoded_at_once_where_the_model_sees_them_larger(
    side: int, on_cuda: int, on_mps: int
) -> None:
    assert (largest_batch(CUDA, side), largest_batch(MPS, side)) == (on_cuda, on_mps)


@pytest.mark.parametrize("config", ["sam2.1_hiera_t", pytest.param("sam2.1_hiera_l", marks=pytest.mark.slow)])
def test_the_largest_batch_is_within_what_attention_takes(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    side, attend, shapes = 320, F.scaled_dot_product_attention, list[torch.Size]()
    trunk = build_sam2(f"configs/sam2.1/{config}.yaml", side).image_encoder.trunk.to("meta")  # shapes alone

    def noted(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **settings: float) -> torch.Tensor:
        shapes.append(torch.Size([*query.shape[:3], key.shape[2]]))
        return attend(query, key, value, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    with torch.inference_mode():
        trunk(torch.zeros(1, 3, side, side, device="meta"))
    windows, whole = max(shapes, key=lambda shape: shape[0]), max(shapes, key=lambda shape: shape[2] * shape[3])
    assert largest_batch(CUDA, 1024) * windows[0] * (1024 / side) ** 2 <= 65_535
    assert largest_batch(MPS, 1024) * 4 * whole.numel() * (1024 / side) ** 4 < 2**32


def test_a_device_that_gets_attention_of_few_queries_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_attention(CPU)
    attend, calls = F.scaled_dot_product_attention, []

    def wrong_at_first(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        calls.append(query.is_contiguous())
        return attend(query, key.flip(2) if len(calls) == 1 else key, value)

    monkeypatch.setattr(F, "scaled_dot_product_attention", wrong_at_first)
    with pytest.raises(UserError, match=r"wrong on CPU; install torch 2\.12 or newer"):
        check_attention(CPU)
    assert calls == [False, False]
