"""Tallies in the cache of a layer: a folder with one file for each set of units counted together.

Units that are asked for later get a file of their own. A unit's counts do not depend on the other units,
so the files of a folder make up the tally of all their units.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...harness.files import fingerprint
from .tally import Tally


class TallyStore:
    """The tallies of one layer under one group of settings.

    Args:
        folder: the folder; created at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, units: Sequence[int]) -> Path:
        """Returns the file for a set of units that is counted together."""
        return self._folder / f"{fingerprint(sorted(units))}.npz"

    def partial_file(self, units: Sequence[int]) -> Path:
        """Returns the file with the counts of an interrupted pass."""
        return self.file(units).with_suffix(".partial")

    def find(self, units: Sequence[int]) -> Tally | None:
        """Returns the tally of those of the units that are stored, in this order; None if none is."""
        left, parts = dict.fromkeys(units), []
        for path in sorted(self._folder.glob("*.npz")):
            if not left or path.name.startswith("."):  # a file that another process is writing
                continue
            tally = Tally.load(path)  # None: damaged, to be counted again
            chosen = [unit for unit in tally.units.tolist() if unit in left] if tally else []
            if tally and chosen:
                parts.append(tally.select(chosen))
                for unit in chosen:
                    del left[unit]
        if not parts:
            return None
        return (
            parts[0].join(parts[1:]).select([unit for unit in dict.fromkeys(units) if unit not in left])
        )

    def missing(self, units: Sequence[int]) -> list[int]:
        """Returns the units that are not stored."""
        tally = self.find(units)
        stored = set(tally.units.tolist()) if tally else set()
        return [unit for unit in dict.fromkeys(units) if unit not in stored]
