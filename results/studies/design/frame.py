"""The sampling frame of a study: the units that can be shown, with their descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from ....harness.records import UnitId

Texts = Mapping[str, str]
"""The descriptions of one unit, by method."""


@dataclass(frozen=True)
class Frame:
    """The units of the runs and files that a study is made of.

    Attributes:
        target: name of the target.
        layers: the layers, in the order of the first run.
        methods: the methods, in the order of tables.
        texts: the descriptions of every unit that is not dead, in the order of layers and units; a method
            without a description of the unit is absent.
        dead: the dead units. They have no exemplars that could be shown.
        sources: name and fingerprint of each run and file.
        references: the true texts of units, where they are known.
        notes: what a reader of the study should know about the sources.
    """

    target: str
    layers: tuple[str, ...]
    methods: tuple[str, ...]
    texts: Mapping[UnitId, Texts]
    dead: tuple[UnitId, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()
    references: Mapping[UnitId, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def without(self, units: Set[UnitId]) -> Frame:
        """Returns the frame without some units."""
        return replace(
            self, texts={unit: texts for unit, texts in self.texts.items() if unit not in units}
        )

    def missing(self, unit: UnitId) -> list[str]:
        """Returns the methods without a description of a unit."""
        return [method for method in self.methods if method not in self.texts[unit]]
