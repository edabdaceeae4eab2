"""Writes the folder of a run without running anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.records import Description
from dissectbench.harness.run_folder import RunFolder, Selection


def write_run(folder: Path, records: Iterable[Description]) -> FinishedRun:
    """Writes a finished run with these records and opens it."""
    records = list(records)
    units: dict[str, list[int]] = {}
    for record in records:
        of_layer = units.setdefault(record.unit.layer, [])
        if record.unit.index not in of_layer:
            of_layer.append(record.unit.index)
    methods = list(dict.fromkeys(record.method for record in records))
    with RunFolder(folder) as opened, opened.tracked():
        opened.bind({"seed": 0, **{f"layer/{name}": f"print of {name}" for name in units}})
        selection = Selection(records[0].unit.target, units, methods)
        opened.write_settings("seed: 3\ntable: {resamples: 10}\n", selection, "cpu", {"seed": 3})
        for record in records:
            opened.journal.append(record)
        opened.finish(failed_units=0)
    return FinishedRun(folder)
