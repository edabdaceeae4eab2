"""Writes models into a folder in the layout of the Hugging Face cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

FIRST, SECOND = "a" * 40, "b" * 40  # two commits


def add_revision(
    cache: Path,
    name: str,
    files: Mapping[str, str] | Path,
    *,
    commit: str = FIRST,
    ref: str = "main",
) -> Path:
    """Adds a commit of a model to the cache and returns its snapshot folder.

    Args:
        cache: the folder of the cache.
        name: the model on the Hub, such as "org/model".
        files: contents by path, or a folder to copy.
        commit: 40 hexadecimal digits.
        ref: the branch or tag that points to the commit.
    """
    repository = cache / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    if isinstance(files, os.PathLike):
        shutil.copytree(files, folder)
        return folder
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder
