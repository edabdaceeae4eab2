"""Links between the pages of the documentation lead somewhere, as GitHub shows them."""

import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "docs/**/*.ipynb", "datasets/**/README.md")
    for page in REPOSITORY.glob(pattern)
)


def anchor(heading):
    """The anchor that GitHub makes of the text of a heading."""
    kept = [c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LNM"]
    return "".join(kept).replace(" ", "-")


@cache
def read(path):
    """The targets of the links and images of a page, and the anchors of its headings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    targets, anchors = [], []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for number, token in enumerate(tokens):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                targets.append(str(target))
        if token.type == "heading_open":
            words = tokens[number + 1].children or ()
            name = anchor("".join(child.content for child in words))
            repeated = anchors.count(name)
            anchors.append(f"{name}-{repeated}" if repeated else name)
    targets += re.findall(
        r"(?:href|src)=\"([^\"]+)\"", "".join(t.content for t in tokens if "html" in t.type)
    )
    return targets, anchors


def broken(page):
    """The targets of a page that do not exist, or are anchors of no heading."""
    wrong = []
    for target in read(page)[0]:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # another site: tests use no network
        path, _, fragment = target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        # On a case-sensitive file system, as that of GitHub.
        exists = file.is_relative_to(REPOSITORY) and file.exists()
        if not exists or (fragment and fragment not in read(file)[1]):
            wrong.append(target)
    return wrong


@pytest.mark.skipif(len(PAGES) < 3, reason="there is no documentation next to the tests")
def test_every_link_leads_to_a_file_and_a_heading():
    assert sum(len(read(page)[0]) for page in PAGES) > 60
    assert {str(page): wrong for page in PAGES if (wrong := broken(page))} == {}


@pytest.mark.skipif(len(PAGES) < 3, reason="there is no documentation next to the tests")
def test_every_page_can_be_reached_from_the_readme():
    reached, open_pages = set(), [REPOSITORY / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in reached or page.suffix not in (".md", ".ipynb"):
            continue
        reached.add(page)
        paths = [target.partition("#")[0] for target in read(page)[0] if ":" not in target]
        open_pages += [(page.parent / path).resolve() for path in paths if path]
    assert [page for page in PAGES if "docs" in page.parts and page not in reached] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](missing.md)", ["missing.md"]),
        ("![a](missing.png)", ["missing.png"]),
        ("[a](#two-words) [b](#two-words-1) [c](#other)\n\n# Two words\n\n## `Two` words", ["#other"]),
        ("[a](page.md#b-c_d--e) \n\n# B, c_d / e!", []),
        ('<img src="missing.png">', ["missing.png"]),
        ("[a](https://example.org/missing.md) `[b](missing.md)`", []),
        ("| a |\n|---|\n| [b](missing.md) |", ["missing.md"]),
        ("[a](../../../../etc)", ["../../../../etc"]),
    ],
)
def test_broken_links_are_found(text, wrong, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert broken(page) == wrong
