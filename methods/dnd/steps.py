"""Runs steps over a block of units; a unit that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ...harness.errors import InputError

Input = TypeVar("Input")
Output = TypeVar("Output")


class Steps:
    """Runs steps sequentially; a unit that fails in a step is left out of the following ones.

    Attributes:
        failures: the reason of each unit that failed.
    """

    def __init__(self) -> None:
        self.failures: dict[int, str] = {}

    def run(
        self,
        step: Callable[[Mapping[int, Input]], Mapping[int, Output]],
        inputs: Mapping[int, Input],
    ) -> dict[int, Output]:
        """Runs `step` for all units together; if it raises, for each unit on its own.

        The second attempt finds the unit that causes the error. Models' outputs are cached, so it repeats
        little work.

        Args:
            step: maps inputs by unit to outputs by unit.
            inputs: input by unit.

        Raises:
            InputError: if the step raises one: an error of the user, which affects every unit.
        """
        if not inputs:
            return {}
        try:
            return dict(step(inputs))
        except (InputError, MemoryError):
            raise
        except Exception as error:
            if len(inputs) == 1:
                [unit] = inputs
                self.failures[unit] = f"{type(error).__name__}: {error}"
                return {}
        outputs: dict[int, Output] = {}
        for unit, value in inputs.items():
            outputs |= self.run(step, {unit: value})
        return outputs

    def run_each(
        self, step: Callable[[int, Input], Output], inputs: Mapping[int, Input]
    ) -> dict[int, Output]:
        """Runs `step` unit by unit, with a unit and its input; raises as `run`."""
        return self.run(lambda some: {unit: step(unit, value) for unit, value in some.items()}, inputs)
