"""`dissectbench study answers` and `study verify`: answers and completion codes of the rating page."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..files import atomic_open
from .console import show_json, terminal


def study_answers_command(options: argparse.Namespace) -> int:
    """Writes the answers of the rating page, and with --raters its raters."""
    from ...results.studies import Study
    from ...results.studies.server import raters_csv, results_csv

    study = Study(options.folder)
    texts = {options.out: results_csv(study)}
    if options.raters:
        texts[options.raters] = raters_csv(study)
    for path, text in texts.items():
        with atomic_open(path) as file:
            file.write(text)
    if options.json:
        show_json({"files": [str(path) for path in texts]})
        return exit_codes.OK
    for path in texts:
        terminal().print(str(path), highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK


def study_verify_command(options: argparse.Namespace) -> int:
    """Prints whether completion codes are genuine, and whose they are; exit code 3 if one is not."""
    from ...results.studies import Study
    from ...results.studies.server import verify_codes

    verdicts = verify_codes(Study(options.folder), options.codes)
    if options.json:
        show_json({"codes": [verdict.to_json() for verdict in verdicts]})
    else:
        for verdict in verdicts:
            terminal().print(f"{verdict.code}: {verdict.text}", highlight=False, markup=False)
    valid = all(verdict.valid for verdict in verdicts)
    return exit_codes.OK if valid else exit_codes.FAILED_UNITS
