"""The memory of a device, to refuse sizes that cannot fit before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Where Linux writes the limit of a container (cgroups 2 and 1); "max" or an enormous number = none.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total(device: torch.device) -> int | None:
    """Return the bytes of memory that a device has in all; None = the system does not say (Windows)."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    if not hasattr(os, "sysconf"):
        return None
    limits = [path.read_text().strip() for path in LIMITS if path.is_file()]
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, *(int(limit) for limit in limits if limit.isdigit()), physical)
