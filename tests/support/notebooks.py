"""Executes notebooks. As a program it stores the outputs: `python tests/support/notebooks.py FILE`."""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Returns a notebook with new outputs; its files are written to `folder`.

    Raises:
        CellExecutionError: if a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    # Versions of Python and IPython; the kernel's name is enough to open the notebook.
    notebook.metadata.pop("language_info", None)
    return notebook


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Returns what each code cell printed or returned as plain text, joined.

    The hash at the end of a run's name is left out: it depends on all settings and the image files.
    """
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = [
                output.get("text", output.get("data", {}).get("text/plain")) for output in cell.outputs
            ]
            printed = "\n".join(text for text in outputs if text is not None)
            found.append(re.sub(r"-[0-9a-f]{8}\b", "-hash", printed))
    return found


def split_numbers(text: str) -> tuple[str, list[float]]:
    """Returns a text with its numbers left out, and the numbers."""
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    # Columns are as wide as their longest number.
    words = " ".join(re.sub(number, "#", text).split())
    return words, [float(found) for found in re.findall(number, text)]


if __name__ == "__main__":
    [file] = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        nbformat.write(executed(file, Path(scratch)), file)
