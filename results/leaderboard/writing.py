"""Writes the files of a leaderboard into a folder."""

from __future__ import annotations

import os
from pathlib import Path

from ...harness.files import atomic_open, write_json
from .boards import Leaderboard
from .formats import markdown, to_csv, to_json
from .page import page

JSON, CSV, MARKDOWN, PAGE = "leaderboard.json", "leaderboard.csv", "leaderboard.md", "index.html"


def write_leaderboard(leaderboard: Leaderboard, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes the leaderboard in every format and returns the paths; equal leaderboards give equal bytes.

    Raises:
        InputError: if a file cannot be written.
    """
    folder = Path(folder)
    texts = {CSV: to_csv(leaderboard), MARKDOWN: markdown(leaderboard), PAGE: page(leaderboard)}
    for name, text in texts.items():
        with atomic_open(folder / name) as file:
            file.write(text)
    write_json(folder / JSON, to_json(leaderboard), sort_keys=False)
    return [folder / name for name in (CSV, MARKDOWN, JSON, PAGE)]
