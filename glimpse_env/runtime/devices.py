"""The device that "auto" stands for, from what torch reports about this machine."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

import torch

logger = logging.getLogger(__name__)


def use_one_thread_after_fork() -> None:
    """Let forked processes compute in one thread: torch's threads do not survive a fork, and would hang it.

    Gymnasium's AsyncVectorEnv makes an environment, which starts torch's threads, and then forks.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class Choice(NamedTuple):
    """A device, and the reason for the choice."""

    device: str
    reason: str


def named(device: str, mps: bool = True) -> str:
    """Return `device`, unchecked; for "auto" `best(mps)`, with a log entry of the reason."""
    if device != "auto":
        return device
    choice = best(mps)
    logger.info("device: %s (%s)", choice.device, choice.reason)
    return choice.device


def best(mps: bool = True) -> Choice:
    """Return a CUDA GPU if there is one, else Apple's GPU (unless `mps` is False), else the CPU."""
    if torch.cuda.is_available():
        return Choice("cuda", "auto: torch finds a CUDA GPU")
    if not torch.backends.mps.is_available():
        return Choice("cpu", "auto: torch finds neither a CUDA GPU nor Apple's MPS")
    if not mps:
        return Choice("cpu", "auto: torch finds no CUDA GPU, and MPS does not serve several processes")
    return Choice("mps", "auto: torch finds no CUDA GPU, but Apple's MPS")
