"""The house rules that a reader relies on: who imports whom, and how long things may be."""

import ast
from pathlib import Path

import pytest

ROOMS = ("harness", "methods", "metrics", "datasets", "results")
TOP = {
    *("__main__", "cli", "commands", "milan_commands", "listing", "doctor"),
    *("run", "plan", "describing", "folder"),
}
LEAVES = {"errors", "files"}


def floor(module: str) -> int:
    """The floor of a module named as in `dissectbench.<module>`."""
    room, _, rest = module.partition(".")
    first = rest.split(".")[0]
    if room == "datasets" or (room == "harness" and first in LEAVES):
        return 0
    if room == "harness":
        return 3 if first in TOP else 1
    return 2


def imports(path: Path, root: Path) -> list[tuple[str, int]]:
    """(module, line) of what a file imports from the package; imports for type checkers do not count."""
    package = path.relative_to(root).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(package[: len(package) - node.level + 1])
            stem = f"{base}.{node.module}" if base and node.module else (node.module or base)
            for alias in node.names:
                inner = root.joinpath(*stem.split("."), f"{alias.name}.py")
                found.append((f"{stem}.{alias.name}" if inner.exists() else stem, node.lineno))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dissectbench."):
            found.append(((node.module or "").removeprefix("dissectbench."), node.lineno))
    return found


def files(repository: Path) -> list[Path]:
    return [path for room in ROOMS for path in sorted((repository / room).rglob("*.py"))]


def test_nobody_imports_upwards(repository):
    wrong = []
    for path in files(repository):
        own = ".".join(path.relative_to(repository).with_suffix("").parts)
        for module, line in imports(path, repository):
            if module.split(".")[0] not in ROOMS or module == "harness":
                continue
            sideways = floor(module) == floor(own) == 2 and module.split(".")[0] != own.split(".")[0]
            if floor(module) > floor(own) or sideways:
                wrong.append(f"{path.relative_to(repository)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_import_check_sees_relative_imports(repository):
    found = [module for module, _ in imports(repository / "harness" / "records.py", repository)]
    assert "harness.errors" in found
    assert "harness.files" in found


def test_a_function_fits_on_a_screen_and_a_file_has_one_subject(repository):
    wrong = []
    for path in files(repository):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400:
            wrong.append(f"{path.relative_to(repository)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 65:
                wrong.append(f"{path.relative_to(repository)}:{node.lineno} {node.name} is too long")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_thing_says_what_it_is(repository, room):
    silent = []
    for path in sorted((repository / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            silent.append(str(path))
        silent += [
            f"{path}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not silent, "\n".join(silent)
