"""Choose the device, the precision and the backend of a run."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from utils.distributed import Session
from utils.errors import UserError, first_line

if TYPE_CHECKING:
    import torch


Backend: TypeAlias = Literal["torch", "openvino"]
"""What runs SAM2's encoder."""

KINDS = ("auto", "cpu", "cuda", "mps")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # mallopt's names for its parameters, from malloc.h
LARGEST_MMAP_THRESHOLD = 2**25  # glibc takes no higher one


def choose_device(name: str, session: Session) -> torch.device:
    """Return the device that `--device` names: for `auto`, CUDA, else MPS, else the CPU; each process has its own GPU.

    A number names a GPU, as in ultralytics.

    Raises:
        UserError: there is no such device, or not on this machine.
    """
    import torch

    if re.fullmatch(r"\d+(,\d+)+", name):
        several = name.count(",") + 1
        raise UserError(f"--device {name}: one process has one; torchrun --nproc_per_node={several} starts several")
    name = f"cuda:{name}" if name.isdecimal() else name
    if name.partition(":")[0] not in KINDS:
        raise UserError(f"--device {name}: is none of auto, cpu, cuda, cuda:1 (a certain GPU), mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{session.local_rank}" if name == "cuda" else name)
        torch.ones(1, device=device)  # computed there, which GPUs that are too old for this torch cannot
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise UserError(f"--device {name}: not available on this machine ({reason})") from None
    if device.type == "cpu":
        keep_freed_memory()
    use_gpu(device)
    return device


def use_gpu(device: torch.device) -> None:
    """Make a GPU the current one of a thread; for other devices do nothing.

    Each thread begins with the first GPU. A stream of another one would go back to it, and so take memory there.
    """
    import torch

    if device.type == "cuda":
        torch.cuda.set_device(device)


def keep_freed_memory() -> None:
    """Make glibc keep the memory of freed tensors for the next ones; with another C library, do nothing.

    By default glibc returns large blocks to the system at once and gets them back page by page, each cleared, which
    takes a good part of SAM2's time on a CPU. The memory kept is at most the largest amount in use at one time, and the
    gaps in it.
    """
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1})


def return_freed_memory() -> None:
    """Undo `keep_freed_memory` for blocks of 32 MiB or more, since gaps of the size of large images add up."""
    _set_malloc({M_MMAP_MAX: 2**16, M_MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD})


def _set_malloc(parameters: Mapping[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in parameters.items():
            libc.mallopt(parameter, value)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type in which SAM2's matrix products are computed.

    `auto` is bf16 where the device computes in it natively (CUDA from compute capability 8, CPUs with AVX512-BF16 or
    AMX), else fp32.
    """
    import torch

    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name != "auto":
        return named[name]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


def choose_backend(name: str, device: torch.device) -> Backend:
    """Return what runs SAM2's encoder.

    `auto` is OpenVINO where it is installed and gains: on CPUs with AVX-512. On those with AVX2 both are bound by the
    same matrix products, and take the same time.

    Raises:
        UserError: OpenVINO is named for another device than a CPU.
    """
    import torch

    if name == "openvino" and device.type != "cpu":
        advice = "choose --device cpu, or segmenter.backend=torch"
        raise UserError(f"segmenter.backend: openvino runs on the CPU only, not on {device}; {advice}")
    if name != "auto":
        return "openvino" if name == "openvino" else "torch"
    gains = device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "openvino" if gains and importlib.util.find_spec("openvino") else "torch"
