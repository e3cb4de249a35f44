"""The floating-point type in which a device multiplies matrices, from what the device reports."""

from __future__ import annotations

import functools
import logging
import os
import platform
import re
from typing import Literal, NamedTuple, get_args

import torch

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16", "float16"]

# Values of ONEDNN_MAX_CPU_ISA that allow bfloat16 units of the CPU; with others bfloat16 is emulated.
BFLOAT16_LEVELS = (
    r"ALL|DEFAULT|AVX512_CORE_(BF16|FP16|AMX|AMX_FP16)|AVX10_1_512(_AMX(_FP16)?)?|AVX10_2_512(_AMX_2)?"
)


class Choice(NamedTuple):
    """A type, and the reason for the choice."""

    dtype: torch.dtype
    reason: str


def named(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of this name (ValueError: unknown); "auto" = `fastest`, whose reason is logged."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(get_args(Precision))}")
    if precision != "auto":
        return getattr(torch, precision)
    choice = fastest(device)
    log_once(choice)
    return choice.dtype


@functools.cache
def log_once(choice: Choice) -> None:
    """Log a choice once: an algorithm may choose at every update."""
    logger.info("precision: %s (%s)", str(choice.dtype).removeprefix("torch."), choice.reason)


def fastest(device: torch.device) -> Choice:
    """Return the half type for which this device has matrix units, else float32, without measuring."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice(torch.bfloat16, "this GPU has bfloat16 units")
        return Choice(torch.float16, "this GPU has float16 units and none for bfloat16")
    if device.type == "cpu":
        return fastest_of_cpu()
    return Choice(torch.float32, f"device type {device.type}: half types are not tried")


def fastest_of_cpu() -> Choice:
    """Return bfloat16 on a CPU with units for it that torch and oneDNN are allowed to use, else float32."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return Choice(torch.float32, f"CPU of type {platform.machine()}: bfloat16 is used on x86 only")
    if torch.cpu._is_amx_tile_supported():
        units = "AMX"
    elif torch.cpu._is_avx512_bf16_supported():
        units = "AVX-512 BF16"
    else:
        return Choice(torch.float32, "this CPU has no bfloat16 units: neither AMX nor AVX-512 BF16")
    capability = torch.backends.cpu.get_cpu_capability()
    if not capability.startswith(("AVX512", "AMX", "AVX10")):
        return Choice(torch.float32, f"torch is limited to {capability}, which has no bfloat16 units")
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    if not re.fullmatch(BFLOAT16_LEVELS, limit):
        return Choice(torch.float32, f"oneDNN is limited to {limit}, which has no bfloat16 units")
    return Choice(torch.bfloat16, f"this CPU has bfloat16 units: {units}")
