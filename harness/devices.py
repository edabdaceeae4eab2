"""Where tensors live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch


def resolve(device: str = "auto") -> torch.device:
    """Returns the torch device for "auto" (CUDA where there is one, else CPU), "cpu", "cuda", "cuda:1".

    Raises:
        InputError: if the device does not exist on this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"unknown device {device!r}", "use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"no such device: {device}", "this machine has no such GPU; use device=cpu")
    return chosen
