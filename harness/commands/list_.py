"""`dissectbench list`: layers of a target, known models, runs, choices of a configuration group."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from .. import exit_codes
from ..errors import InputError, nearest
from ..finished_run import FinishedRun
from ..run_folder import STATUS
from .console import show_json, terminal

PLURALS = {"methods": "method", "metrics": "metric", "targets": "target", "probes": "probe"}
SUBJECTS = {
    "layers": "of a target: dissectbench list layers target=resnet18",
    "models": "known by name: dissectbench list models source=timm",
    "runs": "in the runs folder",
}


@dataclass(frozen=True)
class Listing:
    """A list: a title, and rows of equal keys (column names), JSON-able."""

    title: str
    rows: list[dict[str, Any]]


def list_command(options: argparse.Namespace) -> int:
    """Prints the list that is asked for; without a subject, the subjects."""
    listing = listing_of(options.what, list(options.settings), options.runs, options.config_dir)
    if options.json:
        show_json(listing.rows)
    else:
        terminal().print(_table(listing))
    return exit_codes.OK


def listing_of(what: str | None, settings: list[str], runs: Path, config_dir: str | None) -> Listing:
    """Returns a list.

    Args:
        what: "layers", "models", "runs", a configuration group, or None for all subjects.
        settings: overrides, such as `target=resnet18`.
        runs: the folder of all runs.
        config_dir: folder of the user's own configurations.

    Raises:
        InputError: if there is no such list; names the nearest.
    """
    from ..config import groups

    # `list target=resnet18`, without a subject, asks for the layers of that target.
    if what is not None and "=" in what:
        what, settings = "layers", [what, *settings]
    known = groups(config_dir)
    group = PLURALS.get(what or "", what)
    if group is None:
        return _subjects(known)
    if group == "layers":
        return _layers(settings, config_dir)
    if group == "models":
        return _models(settings)
    if group == "runs":
        return _runs(runs)
    if group in known:
        choices = sorted(known[group].items())
        return Listing(f"{group}=...", [{group: name, "description": text} for name, text in choices])
    words = [*SUBJECTS, *known]
    raise InputError(
        f"cannot list {what!r}", f"{nearest(group, words)} Known: {', '.join(words)}.".strip()
    )


def _subjects(groups: Mapping[str, Mapping[str, str]]) -> Listing:
    rows = [{"subject": name, "entries": text} for name, text in SUBJECTS.items()]
    rows += [
        {"subject": name, "entries": ", ".join(sorted(all_))} for name, all_ in sorted(groups.items())
    ]
    return Listing("dissectbench list SUBJECT", rows)


def _layers(settings: list[str], config_dir: str | None) -> Listing:
    from ..config import build, compose
    from ..targets.layers import list_layers

    target = build(compose(settings, config_dir=config_dir, only="target").config.target, "target")
    rows = [
        {
            "layer": layer.name,
            "module": layer.module,
            "kind": layer.kind,
            "units": layer.n_units,
            "map": None if layer.map_shape in (None, (1, 1)) else list(layer.map_shape),
            "note": layer.note,
        }
        for layer in list_layers(target.untrained())
    ]
    return Listing(f"layers of {target.name}", rows)


def _models(settings: list[str]) -> Listing:
    from ..targets.known_models import known_models

    sources = [setting.partition("=")[2] for setting in settings if setting.startswith("source=")]
    rows = [{"source": s, "models": list(known_models(s))} for s in sources or ("torchvision", "timm")]
    return Listing("models known by name", rows)


def _runs(folder: Path) -> Listing:
    # `run` loads the tables, which no other list needs.
    from .run import summary

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"*/{STATUS}")):
        run = FinishedRun(path.parent)
        counts: dict[tuple[str, str], Counter[str]] = {}
        for record in run.all_records.values():
            counts.setdefault((record.method, record.unit.layer), Counter())[record.status] += 1
        rows += [
            {"name": run.name, **summary(run), "method": method, "layer": layer, "units": dict(statuses)}
            for (method, layer), statuses in counts.items()
        ] or [{"name": run.name, **summary(run), "method": None, "layer": None, "units": {}}]
    return Listing(f"runs in {folder}", rows)


# Columns of `list runs` that only its JSON shows: the path and the times are too wide for a terminal.
_JSON_ONLY = ("run", "started", "ended", "failed_units", "error")


def _table(listing: Listing) -> Table:
    table = Table(title=listing.title, title_justify="left", box=None, pad_edge=False)
    columns = [name for name in (listing.rows[0] if listing.rows else ()) if name not in _JSON_ONLY]
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in listing.rows:
        table.add_row(*(_text(row[column]) for column in columns))
    return table


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {status}" for status, count in value.items())
    if isinstance(value, list):
        return " × ".join(map(str, value)) if value and isinstance(value[0], int) else ", ".join(value)
    return "" if value is None else str(value)
