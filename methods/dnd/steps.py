"""Steps over the units of a block, in which a failure stays with the unit that caused it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ...harness.errors import InputError

Given = TypeVar("Given")
Found = TypeVar("Found")


class Steps:
    """Runs one step after the other; a unit that fails is left out of the steps behind.

    Attributes:
        failures: the reason of each unit that failed.
    """

    def __init__(self) -> None:
        self.failures: dict[int, str] = {}

    def run(
        self, step: Callable[[Mapping[int, Given]], Mapping[int, Found]], given: Mapping[int, Given]
    ) -> dict[int, Found]:
        """Runs `step` for all units together; if that fails, for each of them alone.

        Args:
            step: from units and what is known of them to what it finds.
            given: by unit.

        Raises:
            InputError: what the user has to mend is not a unit's failure.
        """
        if not given:
            return {}
        try:
            return dict(step(given))
        except (InputError, MemoryError):
            raise
        except Exception as error:
            if len(given) == 1:
                [unit] = given
                self.failures[unit] = f"{type(error).__name__}: {error}"
                return {}
        found: dict[int, Found] = {}
        for unit, known in given.items():
            found |= self.run(step, {unit: known})
        return found
