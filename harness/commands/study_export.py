"""`dissectbench study export`: writes the files that other places need to show a study to raters."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import exit_codes
from ..errors import InputError
from .console import show_json, terminal

if TYPE_CHECKING:
    from ...results.studies import Study


def study_export_command(options: argparse.Namespace) -> int:
    """Writes the files and prints their paths."""
    from ...results.studies import Study

    study = Study(options.folder)
    folder = options.out or study.path / "exports" / options.to
    files = TARGETS[options.to](study, folder, options)
    if options.json:
        show_json({"files": [str(path) for path in files]})
        return exit_codes.OK
    for path in files:
        terminal().print(str(path), highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK


def _links(study: Study, folder: Path, options: argparse.Namespace) -> list[Path]:
    from ...results.studies.server import export_links

    if options.raters is None:
        raise InputError("the number of links is missing", "give it with --raters N")
    return export_links(study, folder, _url(options), options.raters)


def _panel(study: Study, folder: Path, options: argparse.Namespace) -> list[Path]:
    from ...results.studies.server import export_panel

    return export_panel(study, options.to, folder, _url(options))


def _url(options: argparse.Namespace) -> str:
    if options.url is None:
        raise InputError(
            "the address of the rating page is missing", "give it with --url https://rate.example.org"
        )
    return options.url


TARGETS: Mapping[str, Callable[[Study, Path, argparse.Namespace], list[Path]]] = {
    "links": _links,
    "prolific": _panel,
    "connect": _panel,
    "sona": _panel,
}
