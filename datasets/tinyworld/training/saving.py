"""Writes trained weights and their model cards."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ....harness.files import atomic_open, atomic_path

if TYPE_CHECKING:
    import torch


def save_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Saves weights as safetensors: matrices and kernels as float16, everything else unchanged."""
    import torch
    from safetensors.torch import save_file

    # Vectors (biases, normalisation) stay float32: they are small, and running variances can be tiny.
    compact = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in state.items()
    }
    with atomic_path(path) as temporary, torch.no_grad():
        save_file(compact, temporary, metadata={"format": "pt"})


def write_card(folder: Path, title: str, sections: Mapping[str, str]) -> None:
    """Writes the model card of the weights in a folder: the given sections and the size."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")
    with atomic_open(folder / "README.md") as file:
        file.write(f"# {title}\n\n")
        for heading, text in sections.items():
            file.write(f"## {heading}\n{_filled(text)}\n\n")
        file.write(f"## Size\n{size / 1e6:.2f} MB\n")


def _filled(text: str) -> str:
    """Fills the lines of paragraphs, which numbers of any length break; keeps lists and tables."""
    paragraphs = re.split(r"\n{2,}", text.strip())
    return "\n\n".join(
        paragraph
        if paragraph.startswith(("- ", "|"))
        else textwrap.fill(paragraph, 100, break_on_hyphens=False)
        for paragraph in paragraphs
    )
