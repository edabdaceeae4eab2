"""What every method is: something that describes units of one layer in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..harness.probe import ProbedLayer
from ..harness.records import Description


class Method(ABC):
    """Describes units of one layer in words.

    A method is configured by its constructor (each argument is a setting of its YAML file), holds no
    target of its own and reads activations only through the `ProbedLayer` it is given.
    """

    name: ClassVar[str]

    @abstractmethod
    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """Yields one description per unit, in the order of `units`.

        A dead unit gets a record with status "dead". A unit that cannot be described gets status
        "failed" with `evidence["reason"]`. The answer for a unit does not depend on which other units
        are asked for.
        """

    def models(self) -> Mapping[str, str]:
        """Names the foundation models behind the descriptions, for tables; empty if there are none."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Returns what the descriptions depend on besides the layer: settings, weights, word lists.

        JSON-able. A run refuses to resume under another identity.
        """
        return {}
