"""The section of one unit for other pages: escaped, complete, and with a style that stays inside."""

import re
from html.parser import HTMLParser

import pytest
from browser import EXECUTABLE, Page
from run_folders import write_run

from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.results.report import (
    Histogram,
    RunImages,
    ShownImage,
    UnitImages,
    standalone_unit,
    unit_reports,
)

HOSTILE = '</style><img src=x onerror="window.hacked = 1" data-thumbnail="0"><script>hacked()</script>'


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


@pytest.fixture
def html(tmp_path):
    unit = UnitId("net", HOSTILE, 3)
    record = Description(
        unit, "words", HOSTILE, "ok", candidates=(Candidate(HOSTILE, 0.5),), evidence={"note": HOSTILE}
    )
    other = Description(UnitId("net", HOSTILE, 4), "words", "another", "ok")
    shown = tuple(ShownImage(0, HOSTILE, 1.5, "M1 1h2v2h-2z") for _ in range(2))
    images = UnitImages(shown, shown, shown, Histogram((3, 1), 0.0, 2.0), 0.5)
    run = write_run(tmp_path / "run", [record, other])
    of_run = RunImages({(HOSTILE, 3): images}, [b"webp"], notes=(HOSTILE,))
    [report] = unit_reports(run, of_run.units, {HOSTILE: [3]})
    return standalone_unit(report, of_run)


def test_hostile_texts_stay_texts(html):
    elements = Elements(html).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "iframe", "link"})
    assert not [a for _, a in elements if any(name.startswith("on") for name in a)]
    assert [tag for tag, _ in elements].count("style") == 1
    sources = [attributes["src"] for tag, attributes in elements if tag == "img"]
    assert len(sources) == 6
    assert set(sources) == {"data:image/webp;base64,d2VicA=="}
    assert "hacked()" in html
    assert "another" not in html


def test_every_rule_of_the_style_is_nested_in_the_section(html):
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert re.match(r"\.dissectbench-unit\.dissectbench-unit \{", style)
    assert not re.search(r"(?m)^\s*(:root|body)", style)
    depth, outermost = 0, 0
    for character in style:
        outermost += character == "{" and depth == 0
        depth += {"{": 1, "}": -1}.get(character, 0)
    assert (depth, outermost) == (0, 1)


@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium")
def test_in_another_page_the_style_stays_inside_and_nothing_runs(html, tmp_path):
    outside = '<h3 id="before">a</h3><table><tr><th id="cell">b</th></tr></table>'
    style = "<style>.notebook table tr:nth-child(odd) { background: red }</style>"
    look = """JSON.stringify(["before", "cell"].map((id) => {
        const style = getComputedStyle(document.getElementById(id));
        return [style.font, style.color, style.margin, style.padding, style.textAlign];
    }))"""
    looks = []
    page = Page(tmp_path / "profile")
    try:
        for section in ("", html):
            path = tmp_path / "page.html"
            path.write_text(f"<!doctype html>{style}{outside}<div class='notebook'>{section}</div>")
            page.open(path)
            looks.append(page.run(look))
        assert looks[0] == looks[1]
        assert page.run("window.hacked") is None
        row = "getComputedStyle(document.querySelector('.dissectbench-unit tr')).backgroundColor"
        assert page.run(row) == "rgba(0, 0, 0, 0)"
        # Buttons need the script of the report.
        assert page.run("document.querySelector('.dissectbench-unit button').offsetParent === null")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.close()
