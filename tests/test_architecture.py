"""The rules of the code: who imports whom, how long things may be, and that everything is documented."""

import ast
from pathlib import Path

import pytest

PACKAGES = ("harness", "methods", "metrics", "datasets", "results")

# Dependency layers, from the bottom up: a folder may import from its own layer's own package and from
# every layer below. `docs/architecture.md` has the same table. The longest matching prefix counts.
LAYERS = (
    ("harness.errors", "harness.files"),
    ("datasets",),
    ("harness",),
    ("harness.targets", "harness.foundation", "harness.conf"),
    ("harness.activations",),
    ("methods", "metrics", "results"),
    (
        *("harness.parts", "harness.run", "harness.plan", "harness.report"),
        *("harness.dissect", "harness.dissection"),
        *("harness.describing", "harness.score_files", "harness.export"),
        *("harness.reproduce", "harness.studies", "harness.description_vectors"),
        *("harness.report_evidence", "harness.report_thumbnails"),
    ),
    ("harness.commands",),
    (
        *("harness.cli", "harness.cli_leaderboard", "harness.cli_reproduce", "harness.cli_study"),
        *("harness.cli_study_design", "harness.cli_units"),
        "harness.__main__",
    ),
)


def package_and_layer(module: str) -> tuple[str, int]:
    """The folder of LAYERS that a module belongs to, and its layer's number."""
    found = [
        (name, number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(found, key=lambda item: len(item[0]))


def may_import(own: str, other: str) -> bool:
    """Whether `own` may import from `other`: the same package, or a lower layer."""
    (own_package, own_layer), (package, layer) = package_and_layer(own), package_and_layer(other)
    if layer < own_layer or package == own_package:
        return True
    # The single modules of one layer may use each other: the run and its plan. The package of studies is
    # one of them.
    own = own_package if own_package == "harness.studies" else own
    return layer == own_layer and {own, other} <= set(LAYERS[layer])


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
    return [path for package in PACKAGES for path in sorted((repository / package).rglob("*.py"))]


def test_nobody_imports_upwards(repository):
    wrong = []
    for path in files(repository):
        own = ".".join(path.relative_to(repository).with_suffix("").parts)
        for module, line in imports(path, repository):
            # `harness` itself holds the version alone.
            if module.split(".")[0] in PACKAGES and module != "harness" and not may_import(own, module):
                wrong.append(f"{path.relative_to(repository)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("own", "other", "allowed"),
    [
        ("methods.dnd.crops", "harness.activations.store", True),
        ("methods.dnd.crops", "methods.method", True),
        ("methods.dnd.crops", "metrics.metric", False),
        ("results.tables.table", "methods.method", False),
        ("harness.records", "harness.files", True),
        ("harness.records", "harness.targets.target", False),
        ("harness.foundation.protocols", "harness.targets.target", False),
        ("harness.run", "harness.plan", True),
        ("harness.run", "harness.commands.run", False),
        ("harness.studies.images", "harness.report", True),
        ("harness.studies.images", "harness.commands.run", False),
        ("datasets.broden", "harness.files", True),
        ("datasets.broden", "harness.records", False),
    ],
)
def test_the_layers_allow_what_the_page_says(own, other, allowed):
    assert may_import(own, other) == allowed


def test_the_import_check_sees_relative_imports(repository):
    found = [module for module, _ in imports(repository / "harness" / "journal.py", repository)]
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


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_thing_says_what_it_is(repository, package):
    silent = []
    for path in sorted((repository / package).rglob("*.py")):
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
