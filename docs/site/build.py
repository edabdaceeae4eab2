"""Builds the documentation site: the pages of this repository and the reference of all public names.

`python docs/site/build.py FOLDER` writes FOLDER/html. A warning, such as a broken link, is an error.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import shutil
import sys
from pathlib import Path
from types import ModuleType

from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("harness", "methods", "metrics", "results")

SECTIONS = {
    "Guide": (
        "quickstart",
        "notebook",
        "python",
        "report",
        "figures",
        "leaderboard",
        "import",
        "tinyworld",
    ),
    "Methods": (
        "methods/network_dissection",
        "methods/clip_dissect",
        "methods/milan",
        "methods/dnd",
        "methods/dnd_ablations",
    ),
    "Numbers": ("metrics", "statistics", "determinism", "reproduce", "errata"),
    "Extend": ("add_a_model", "add_a_method", "add_a_data_set", "add_a_metric", "architecture"),
}
"""Pages in the order of the navigation; others follow in a section of their own."""


def main(folder: Path) -> int:
    """Copies the pages to `folder/source`, adds the reference, and builds `folder/html`."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    # Copied in the layout of the repository, so that the links between pages work there and here.
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("site"))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pages = _sections(source)
    pages["Reference"] = _write_references(source)
    lists = [_toctree(*section) for section in pages.items()]
    lists.append(_toctree("Project", ["CONTRIBUTING", "CHANGELOG"]))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text("\n".join([readme, *lists]), encoding="utf-8")
    settings = str(Path(__file__).parent)
    return sphinx(["-W", "--keep-going", "-q", "-E", "-c", settings, str(source), str(folder / "html")])


def _sections(source: Path) -> dict[str, list[str]]:
    """Returns the pages of each section; those that no section names are the last one."""
    sections = {title: [f"docs/{page}" for page in pages] for title, pages in SECTIONS.items()}
    named = {page for pages in sections.values() for page in pages}
    files = sorted(file.relative_to(source).with_suffix("") for file in source.glob("docs/**/*.md"))
    others = [page for page in map(Path.as_posix, files) if page not in named]
    return sections | ({"More": others} if others else {})


def _toctree(title: str, pages: list[str]) -> str:
    listed = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```\n"


def _write_references(source: Path) -> list[str]:
    """Writes a page for each package with public names, and returns the names of the pages."""
    stubs = sorted(stub for name in PACKAGES for stub in (ROOT / name).glob("**/__init__.pyi"))
    packages = [".".join(stub.relative_to(ROOT).parts[:-1]) for stub in stubs]
    (source / "reference").mkdir()
    documented: dict[int, str] = {}
    # Some packages offer names of their sub-packages; these are described there.
    for package in sorted(packages, key=lambda name: -name.count(".")):
        page = _reference(importlib.import_module(f"dissectbench.{package}"), documented)
        (source / "reference" / f"{package}.md").write_text(page, encoding="utf-8")
    return [f"reference/{package}" for package in packages]


def _reference(module: ModuleType, documented: dict[int, str]) -> str:
    """Returns the page of a package.

    Args:
        module: the package.
        documented: the package that describes an object, by the object's id; it is extended.
    """
    directives, elsewhere = [], []
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        package = documented.setdefault(id(value), module.__name__)
        if package == module.__name__:
            directives += ["", *_directive(module, name)]
        else:
            page = package.removeprefix("dissectbench.")
            elsewhere.append(f"- `{name}`: see [{package}]({page}.md)")
    title = [f"# {module.__name__}", "", (inspect.getdoc(module) or "").split("\n\n")[0], ""]
    return "\n".join([*title, *elsewhere, "", "```{eval-rst}", *directives, "```", ""])


def _directive(module: ModuleType, name: str) -> list[str]:
    value = getattr(module, name)
    if inspect.isclass(value):
        return [f".. autoclass:: {module.__name__}.{name}", "   :members:"]
    if callable(value):
        return [f".. autofunction:: {module.__name__}.{name}"]
    # The description of a constant is only in the file that defines it.
    stub = ast.parse(Path(str(module.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    [home] = [
        node.module
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
    ]
    return [f".. autodata:: {module.__name__}.{home}.{name}"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
