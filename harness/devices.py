"""Devices: which one to compute on, and how to compute on it repeatably."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch


def resolve(device: str = "auto") -> torch.device:
    """Returns the torch device for "auto" (CUDA if available, else CPU), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: if this machine has no such device.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"unknown device {device!r}", "use auto, cpu, cuda or cuda:N") from error
    # "cuda" without a number is the first GPU.
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"no such device: {device}", "this machine has no such GPU; use device=cpu")
    return chosen


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Computes convolutions in float32 and with the same algorithm each time.

    By default CUDA may round their inputs to TF32 and choose the algorithm by a timed trial, so that the
    same image gives other values in another run.
    """
    import torch

    if device.type != "cuda":
        yield
        return
    # A context, so that the settings of other code in the process are restored.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
