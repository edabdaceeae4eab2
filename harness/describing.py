"""Lets methods describe units and keeps every answer the moment it is there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .journal import Journal
from .probe import ProbedLayer
from .records import Description, Status

if TYPE_CHECKING:
    from ..methods.method import Method

# A method that fails this often in a row for one reason will not succeed on the next unit either.
GIVE_UP_AFTER = 10

log = logging.getLogger(__name__)


def remaining(
    journal: Journal, method: str, layer: ProbedLayer, units: Sequence[int], *, retry_failed: bool
) -> list[int]:
    """Returns the units that a method has still to describe: no record, or a failed one to try again."""
    return [unit for unit in units if _is_open(_status(journal, method, layer, unit), retry_failed)]


def _status(journal: Journal, method: str, layer: ProbedLayer, unit: int) -> Status | None:
    record = journal.latest.get((layer.unit(unit), method))
    return record.status if record else None


def _is_open(status: Status | None, retry_failed: bool) -> bool:
    return status is None or (retry_failed and status == "failed")


def describe(
    method: Method,
    layer: ProbedLayer,
    units: Iterable[int],
    journal: Journal,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Has `method` describe `units` of `layer`, one record each, whatever happens to single units.

    An exception of the method becomes a failed record of the unit in hand, and the method goes on
    with the units after it.

    Raises:
        InputError: what the user has to mend (missing weights, say) ends the run instead.
    """
    todo = list(units)
    failures: list[str] = []
    while todo:
        try:
            for description in method.describe(layer, tuple(todo)):
                if description.unit != layer.unit(todo[0]):
                    raise RuntimeError(
                        f"{method.name} answered for {description.unit}, not unit {todo[0]}"
                    )
                journal.append(description)
                todo.pop(0)
                failures.clear()
                progress()
            if todo:
                raise RuntimeError(f"{method.name} gave no description")
        except (InputError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.debug("%s on %s: %s", method.name, layer.unit(todo[0]), traceback.format_exc())
            failures.append(reason)
            journal.append(_failed(method.name, layer, todo.pop(0), reason))
            progress()
            if len(failures) >= GIVE_UP_AFTER and len(set(failures[-GIVE_UP_AFTER:])) == 1:
                for unit in todo:
                    journal.append(_failed(method.name, layer, unit, f"not tried, after: {reason}"))
                    progress()
                return


def _failed(method: str, layer: ProbedLayer, unit: int, reason: str) -> Description:
    return Description(layer.unit(unit), method, None, "failed", evidence={"reason": reason})
