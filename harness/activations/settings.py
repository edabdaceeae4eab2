"""Settings of the pass that computes activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError, one_of

Pool = Literal["mean", "max"]
OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class ActivationSettings:
    """Settings of the pass over a probing set; the node `activations` of the configuration.

    Attributes:
        pool: pooling of a map to a value. Both values are stored; `ProbedLayer.values` is this one.
        batch_size: images per forward pass on an accelerator; the number is fixed on the CPU.
        workers: processes that decode images; 0 decodes in the main process.
        quantile_tail: upper fraction of all positions that is stored for exact quantiles.
        tail_budget_gb: memory for the tails of all layers; larger tails are buffered on disk.
        keep_maps: "float16" stores feature maps on disk, layer by layer up to the budget; None
            recomputes them on request.
        map_budget_gb: disk space for stored maps.
        on_error: "raise" stops at an unreadable image; "skip" leaves it out and lists it.

    Raises:
        InputError: if a value has the wrong type or is out of range.
    """

    pool: Pool = "mean"
    batch_size: int = 64
    workers: int = 0
    quantile_tail: float = 0.01
    tail_budget_gb: float = 0.5
    keep_maps: Literal["float16"] | None = None
    map_budget_gb: float = 4.0
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        one_of("activations.pool", self.pool, ("mean", "max"))
        one_of("activations.on_error", self.on_error, ("raise", "skip"))
        one_of("activations.keep_maps", self.keep_maps, (None, "float16"))
        self._check_integer("batch_size", least=1)
        self._check_integer("workers", least=0)
        self._check_number("tail_budget_gb")
        self._check_number("map_budget_gb")
        self._check_number("quantile_tail")
        if not 0 < self.quantile_tail <= 1:
            raise InputError(
                f"activations.quantile_tail is {self.quantile_tail}",
                "use a fraction above 0 and at most 1",
            )

    def _check_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        # bool is a subclass of int, but `batch_size: true` is a mistake.
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"activations.{name} is {value!r}", f"use an integer of at least {least}")

    def _check_number(self, name: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise InputError(f"activations.{name} is {value!r}", "use a finite number of at least 0")


DEFAULTS = ActivationSettings()
