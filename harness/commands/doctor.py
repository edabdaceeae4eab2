"""`dissectbench doctor`: checks the installation, the locally available models, and the runs folder."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table

from .. import exit_codes
from ..errors import InputError
from .console import show_json, terminal

Verdict = Literal["ok", "missing", "broken"]
MARKS = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}


@dataclass(frozen=True)
class Finding:
    """The result of one check. "missing" matters only for settings that need it, "broken" always."""

    what: str
    verdict: Verdict
    detail: str


def doctor_command(options: argparse.Namespace) -> int:
    """Prints the findings; the exit code is 2 if something is broken."""
    findings = list(examine(options.runs))
    if options.json:
        show_json([asdict(finding) for finding in findings])
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("", "what", "detail"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(MARKS[finding.verdict], finding.what, finding.detail)
        terminal().print(table)
    broken = any(finding.verdict == "broken" for finding in findings)
    return exit_codes.INVALID_INPUT if broken else exit_codes.OK


def examine(runs: Path) -> Iterator[Finding]:
    """Yields the findings. Downloads nothing."""
    yield from _installation()
    yield from _folders(runs)
    yield _attempt("tinyworld", _tinyworld, "broken")
    for group, choice, use in (
        ("metric", "minilm_cosine", "sentence cosine and BERTScore where nothing can be downloaded"),
        ("metric", "mpnet_cosine", "sentence cosine"),
        ("metric", "bertscore_f1", "BERTScore"),
        ("encoder", "clip_vit_b16", "CLIP-Dissect and CLIP cosine on real networks"),
    ):
        yield _attempt(f"{group}={choice}", lambda g=group, c=choice, u=use: _model(g, c, u), "missing")


def _installation() -> Iterator[Finding]:
    from ..run_folder import environment

    found = environment()
    yield Finding("python", "ok", f"{found['python']} on {found['platform']}")
    for package, version in found["packages"].items():
        yield Finding(package, "broken" if version == "not installed" else "ok", version)
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    yield Finding("device", "ok", f"{device}, {torch.get_num_threads()} threads")


def _folders(runs: Path) -> Iterator[Finding]:
    from ..files import atomic_open

    try:
        # Permissions do not show a full disk or a read-only file system; writing does.
        with atomic_open(runs / ".writable") as file:
            file.write("")
        (runs / ".writable").unlink()
        free = shutil.disk_usage(runs).free / 2**30
        yield Finding("runs folder", "ok", f"{runs.resolve()}, {free:.0f} GiB free")
    except InputError as error:
        yield Finding("runs folder", "broken", str(error))


def _attempt(what: str, check: Callable[[], str], otherwise: Verdict) -> Finding:
    try:
        return Finding(what, "ok", check())
    except InputError as error:
        return Finding(what, otherwise, str(error))
    # An unexpected error is a finding too, and must not end the other checks.
    except Exception as error:
        return Finding(what, "broken", f"{type(error).__name__}: {error}")


def _tinyworld() -> str:
    from ..config import build, compose

    config = compose().config
    target = build(config.target, "target")
    return f"{target.name}, {sum(p.numel() for p in target.model.parameters()) / 1e6:.1f} M parameters"


def _model(group: str, choice: str, use: str) -> str:
    from ..config import build, compose
    from ..weights import local_files_only

    override = f"metric=[{choice}]" if group == "metric" else f"{group}={choice}"
    with local_files_only():
        config = compose([override]).config
        if group == "metric":
            (node,) = config.metric.values()
            metric = build(node, override)
            # Weights are loaded on first use: building alone would not notice that they are missing.
            metric.score(["a red boat"], [["a boat"]])
            return f"{use}: {', '.join(metric.models().values())}"
        encoder = build(config.encoder, override)
        encoder.encode_texts(["a red boat"])
        return f"{use}: {encoder.name}"
