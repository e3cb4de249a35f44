"""In which floating-point type a device computes best."""

from __future__ import annotations

import functools
import time
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def named(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of this name; "auto" = the half type of a CUDA device, and on a CPU whichever is faster.

    Raises:
        ValueError: An unknown name.
    """
    if precision not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"precision={precision!r}: expected one of auto, float32, bfloat16, float16")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return fastest_precision(device) if device.type == "cpu" else torch.float32


@functools.cache
def fastest_precision(device: torch.device) -> torch.dtype:
    """Return the type in which this device multiplies matrices faster: bfloat16 must win clearly."""
    seconds = {}
    generator = torch.Generator(device).manual_seed(0)  # its own: a measurement must not change what the program draws
    for kind in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(1024, 512, device=device, dtype=kind, generator=generator) for _ in range(2))
        for repeat in range(4):
            start = time.perf_counter()
            for _ in range(5):
                left = (left @ right.T @ right).clamp(-1, 1)
            left.sum().item()  # waits for the device
            seconds[kind] = min(seconds.get(kind, 1e9) if repeat > 1 else 1e9, time.perf_counter() - start)
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.7 * seconds[torch.float32] else torch.float32
