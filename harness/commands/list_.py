"""`dissectbench list`: the layers of a target, the runs, the choices of a configuration group."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from ..errors import InputError, nearest

PLURALS = {"methods": "method", "metrics": "metric", "targets": "target", "probes": "probe"}


def list_command(options: argparse.Namespace) -> int:
    """Prints what was asked for; without a word, what can be asked for."""
    from ..config import groups

    console = Console()
    what, settings = options.what, list(options.settings)
    if what is not None and "=" in what:
        what, settings = "layers", [what, *settings]
    known = groups(options.config_dir)
    group: str | None = PLURALS.get(what, what) if what is not None else None
    if what is None or group is None:
        console.print("[bold]layers[/]  of a target: dissectbench list layers target=resnet18")
        console.print("[bold]models[/]  known by name: dissectbench list models source=timm")
        console.print("[bold]runs[/]    in the runs folder")
        for name, choices in sorted(known.items()):
            console.print(f"[bold]{name}[/]  {', '.join(sorted(choices))}", highlight=False)
    elif what == "layers":
        console.print(_layers(settings, options.config_dir))
    elif what == "models":
        console.print(_models(settings))
    elif what == "runs":
        console.print(_runs(options.runs))
    elif group in known:
        console.print(_choices(group, known[group]))
    else:
        words = ["layers", "models", "runs", *known]
        raise InputError(
            f"cannot list {what!r}", f"{nearest(what, words)} Known: {', '.join(words)}.".strip()
        )
    return 0


def _layers(settings: list[str], config_dir: str | None) -> Table:
    from ..config import build, compose
    from ..targets.layers import list_layers

    target = build(compose(settings, config_dir=config_dir).config.target, "target")
    table = _table(f"layers of {target.name}", "layer", "module", "kind", "units", "map", "note")
    for layer in list_layers(target):
        size = "" if layer.map_shape in (None, (1, 1)) else " × ".join(map(str, layer.map_shape))
        table.add_row(layer.name, layer.module, layer.kind, str(layer.n_units), size, layer.note)
    return table


def _models(settings: list[str]) -> Table:
    from ..targets.known_models import known_models

    sources = [setting.partition("=")[2] for setting in settings if setting.startswith("source=")]
    table = _table("models known by name", "source", "models")
    for source in sources or ("torchvision", "timm"):
        names = known_models(source)
        table.add_row(source, ", ".join(names))
    return table


def _runs(folder: Path) -> Table:
    from ..journal import read_descriptions
    from ..records import Status

    table = _table(
        f"runs in {folder}", "run", "method", "layer", "ok", "below threshold", "dead", "failed"
    )
    for path in sorted(folder.glob("*/descriptions.jsonl")):
        latest = {(d.unit, d.method): d for d in read_descriptions(path)}
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for description in latest.values():
            row = counts.setdefault((description.method, description.unit.layer), {})
            row[description.status] = row.get(description.status, 0) + 1
        for (method, layer), row in counts.items():
            numbers = [str(row.get(status, 0)) for status in get_args(Status)]
            table.add_row(path.parent.name, method, layer, *numbers)
    return table


def _choices(group: str, choices: dict[str, str]) -> Table:
    table = _table(f"{group}=...", group, "what it is")
    for name, comment in sorted(choices.items()):
        table.add_row(name, comment)
    return table


def _table(title: str, *columns: Any) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
