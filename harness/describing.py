"""Runs a method over the units of a layer and appends each record as soon as it is produced."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError
from .journal import Journal
from .probe import ProbedLayer
from .records import Description

if TYPE_CHECKING:
    from ..methods.method import Method
    from .activations.map_pass import MapConsumer
    from .progress import Progress

# A method that fails this often in a row for the same reason will not succeed on the next unit either.
GIVE_UP_AFTER = 10

log = logging.getLogger(__name__)


def remaining(
    journal: Journal, method: str, layer: ProbedLayer, units: Sequence[int], *, retry_failed: bool
) -> list[int]:
    """Returns the units without a record; with `retry_failed`, also those whose record is "failed"."""
    records = {unit: journal.latest.get((layer.unit(unit), method)) for unit in units}
    return [
        unit
        for unit, record in records.items()
        if record is None or (retry_failed and record.status == "failed")
    ]


@dataclass(frozen=True)
class Todo:
    """The units of a layer that a method has to describe."""

    method: Method
    layer: ProbedLayer
    units: Sequence[int]


def read_maps(todo: Iterable[Todo], progress: Progress) -> None:
    """Reads the feature maps that methods need, in one pass for all layers and methods (see `map_pass`).

    Raises:
        InputError: an error of the user (such as an image that was removed) aborts the run.
    """
    from .activations.map_pass import run_map_pass

    consumers: list[MapConsumer] = []
    for part in todo:
        with _errors_left_to_describe():
            consumers += part.method.map_consumers(part.layer, part.units)
    with _errors_left_to_describe():
        run_map_pass(consumers, progress)


@contextmanager
def _errors_left_to_describe() -> Iterator[None]:
    """Suppresses errors that a method meets again when it describes: its records then have the reason."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception:
        log.debug("reading feature maps failed", exc_info=True)


def describe_all(todo: Iterable[Todo], journal: Journal, progress: Progress) -> None:
    """Lets every method describe its units, see `describe`."""
    for part in todo:
        title = f"{part.method.name} · {part.layer.name}"
        with progress.task(title, len(part.units)) as advance:
            describe(part.method, part.layer, part.units, journal, advance)


def describe(
    method: Method,
    layer: ProbedLayer,
    units: Iterable[int],
    journal: Journal,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Describes `units` of `layer` with `method`; every unit gets one record.

    If the method raises an exception, the current unit gets a failed record, and the method is called
    again for the units after it. After `GIVE_UP_AFTER` equal failures in a row, all remaining units get
    failed records.

    Args:
        method: the method.
        layer: the layer.
        units: indices of the units, in the order in which they are described.
        journal: the records are appended to it.
        progress: called after each record.

    Raises:
        InputError: an error of the user (such as missing weights) aborts the run.
    """
    todo = list(units)
    reasons: list[str] = []  # of the failures since the last success

    def record(description: Description) -> None:
        journal.append(description)
        todo.pop(0)
        progress()

    def record_failure(reason: str) -> None:
        unit, evidence = layer.unit(todo[0]), {"reason": reason}
        record(Description(unit, method.name, None, "failed", evidence=evidence))

    while todo:
        try:
            # A copy, because `record` shortens the list while the method iterates.
            for description in method.describe(layer, tuple(todo)):
                # The order matters: a failure is recorded for the first unit without a record.
                if description.unit != layer.unit(todo[0]):
                    raise RuntimeError(
                        f"{method.name} described {description.unit} instead of unit {todo[0]}"
                    )
                record(description)
                reasons.clear()
            if todo:
                raise RuntimeError(f"{method.name} returned no description")
        # None of these is about one unit: as failed records they would use up all remaining units.
        except (InputError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.debug("%s on %s: %s", method.name, layer.unit(todo[0]), traceback.format_exc())
            record_failure(reason)
            reasons.append(reason)
            if len(reasons) >= GIVE_UP_AFTER and len(set(reasons[-GIVE_UP_AFTER:])) == 1:
                # Recorded, so that every selected unit has a record, and --retry-failed tries them
                # again.
                while todo:
                    record_failure(f"not tried, after: {reason}")
