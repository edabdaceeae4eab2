"""The notebook of the documentation runs, and its stored outputs are those of its cells."""

import ast
import re

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

from notebooks import executed, split_numbers, texts  # noqa: E402


@pytest.fixture(scope="module")
def stored(repository):
    path = repository / "docs" / "notebook.ipynb"
    if not path.is_file():
        pytest.skip("there is no documentation next to the tests")
    return path


def test_the_stored_notebook_is_small_complete_and_names_no_folder_of_a_machine(stored):
    text = stored.read_text(encoding="utf-8")
    assert len(text) < 500_000
    assert not re.search(r"/(home|root|tmp|work|Users|usr)/", text)
    notebook = nbformat.read(stored, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    streams = {output.get("name", "") for cell in cells for output in cell.outputs}
    assert streams == {"", "stdout"}  # no warnings, no bars


def test_five_lines_lead_to_a_description(stored):
    first = next(cell for cell in nbformat.read(stored, as_version=4).cells if cell.cell_type == "code")
    statements = [
        statement
        for statement in ast.parse(first.source).body
        if not isinstance(statement, (ast.Import, ast.ImportFrom))
    ]
    assert len(statements) <= 5


@pytest.mark.slow
def test_the_notebook_prints_what_is_stored(stored, tmp_path):
    before = nbformat.read(stored, as_version=4)
    for expected, text in zip(texts(before), texts(executed(stored, tmp_path)), strict=True):
        (words, numbers), (other_words, other_numbers) = split_numbers(expected), split_numbers(text)
        assert other_words == words
        # Scores are printed with four digits, and kernels of other machines round differently.
        assert other_numbers == pytest.approx(numbers, rel=0.01, abs=0.005)
