"""Runs a method over the units of a layer and appends each record as soon as it is produced."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """The units of a layer that a method has to describe, and the seconds already spent on their maps."""

    method: Method
    layer: ProbedLayer
    units: Sequence[int]
    map_seconds: float = 0.0


def read_maps(
    todo: Sequence[Todo], progress: Progress, *, others: Iterable[MapConsumer] = ()
) -> list[Todo]:
    """Reads the feature maps that methods need, in one pass for all layers and methods (see `map_pass`).

    Args:
        todo: what is to be described.
        progress: shows the pass.
        others: further consumers of maps, such as the report's.

    Returns:
        The same work with the seconds of the pass.

    Raises:
        InputError: an error of the user (such as an image that was removed) aborts the run.
    """
    from .activations.map_pass import run_map_pass

    consumers: list[list[MapConsumer]] = [[] for _ in todo]
    for part, needed in zip(todo, consumers, strict=True):
        with _errors_left_to_describe():
            needed += part.method.map_consumers(part.layer, part.units)
    seconds: dict[MapConsumer, float] = {}
    with _errors_left_to_describe():
        of_methods = [consumer for needed in consumers for consumer in needed]
        seconds = run_map_pass([*of_methods, *others], progress)
    return [
        replace(part, map_seconds=sum(seconds.get(consumer, 0.0) for consumer in needed))
        for part, needed in zip(todo, consumers, strict=True)
    ]


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
            share = part.map_seconds / max(len(part.units), 1)
            describe(part.method, part.layer, part.units, journal, advance, map_seconds=share)


def describe(
    method: Method,
    layer: ProbedLayer,
    units: Iterable[int],
    journal: Journal,
    progress: Callable[[], None] = lambda: None,
    *,
    map_seconds: float = 0.0,
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
        map_seconds: seconds spent on the maps of each unit; part of the unit's seconds.

    Raises:
        InputError: an error of the user (such as missing weights) aborts the run.
    """
    todo = list(units)
    reasons: list[str] = []  # of the failures since the last success

    def record(description: Description) -> None:
        journal.append(replace(description, seconds=description.seconds + map_seconds))
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
