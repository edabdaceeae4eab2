"""The interface of all methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..harness.probe import ProbedLayer
from ..harness.records import Description

if TYPE_CHECKING:
    from ..harness.activations.map_pass import MapConsumer
    from ..harness.illustrations import Illustration


@dataclass(frozen=True)
class ExpectedCalls:
    """The language-model calls that a run will make if no reply is cached and every reply is usable.

    Attributes:
        calls: number of calls.
        cost_usd: expected cost; None if the prices are not known.
        most_usd: upper bound of the cost, at the longest prompts and replies; None if the prices are
            not known.
    """

    calls: int
    cost_usd: float | None = None
    most_usd: float | None = None


class Method(ABC):
    """Describes units of one layer in words.

    A method is configured by its constructor (each argument is a setting of its YAML file). It has no
    target of its own and reads activations only from the `ProbedLayer` that it receives.

    Attributes:
        name: name of the method in records and tables.
    """

    name: str

    @abstractmethod
    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """Yields one description per unit, in the order of `units`.

        A dead unit gets a record with status "dead". A unit whose best candidate does not pass a
        threshold of the method gets status "below_threshold", and one that cannot be described gets
        status "failed", both with `evidence["reason"]`. The answer for a unit does not depend on which
        other units are asked for.
        """

    def map_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """Returns what the method computes from feature maps of `units` and does not find in the cache.

        A run reads the maps of all layers for all methods in one pass before it describes. The consumers
        store their results where `describe` finds them. `describe` must also work if it is called without
        a run, and finds nothing. Default: no consumers.
        """
        del layer, units
        return ()

    def illustration_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """Returns what gathers the feature maps that `illustrations` reads, unless they are cached.

        A run reads them in the same pass as those of `map_consumers`. Default: no consumers.
        """
        del layer, units
        return ()

    def illustrations(
        self, layer: ProbedLayer, records: Sequence[Description]
    ) -> Iterator[tuple[int, Illustration]]:
        """Yields images that show why units were described as they were, for the report of a run.

        They are made of the evidence of the records and of what is stored: no model computes again. An
        image that is no longer stored is left out, and the illustration's `note` says so. It is called
        with some units of a layer at a time, also long after the run. Default: none.

        Args:
            layer: the layer.
            records: descriptions of units of the layer by this method, of any status.

        Yields:
            The index of a unit and an illustration, in the order in which a unit's are shown.
        """
        del layer, records
        return iter(())

    def models(self) -> Mapping[str, str]:
        """Returns the foundation models used, as {role: name}, for tables; empty if there are none."""
        return {}

    def expected_calls(self, units: int) -> ExpectedCalls | None:
        """Returns what describing `units` units asks of a language model; None if nothing.

        The plan of a run shows it before anything is asked.
        """
        del units
        return None

    def identity(self) -> Mapping[str, Any]:
        """Returns what the descriptions depend on besides the layer: settings, weights, word lists.

        JSON-able. A run does not resume if the identity has changed.
        """
        return {}
