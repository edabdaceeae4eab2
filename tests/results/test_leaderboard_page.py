"""The page of a leaderboard: in headless Chromium, with hostile names and descriptions, and as a file."""

import base64
import hashlib
import html.parser
import json
import re
from pathlib import Path

import pytest
from browser import EXECUTABLE, Page
from leaderboards import BAD, GOOD, bundle, large_leaderboard

from dissectbench.results.leaderboard import build
from dissectbench.results.leaderboard.page import STATIC_ROWS, page

needs_chromium = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>"
METHOD = '"><svg onload=window.hacked=3>'


@pytest.fixture(scope="module")
def hostile():
    """A page with hostile target, method, source and descriptions."""
    one = bundle({"good": GOOD, METHOD: BAD}, net="net a", text=f"{EVIL} <!-- {{{{ 7*7 }}}}")
    two = bundle({"good": BAD, "=1+1": GOOD}, net=EVIL, source=f"{EVIL}.zip")
    return page(build([one, two], n_resamples=200))


@pytest.fixture(scope="module")
def browser(hostile, tmp_path_factory):
    """An open browser and the file of the hostile page."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(hostile, encoding="utf-8")
    opened = Page(tmp_path_factory.mktemp("profile"))
    yield opened, path
    opened.close()


def texts(opened, column):
    """The texts of a column, from top to bottom."""
    return opened.run(
        "[...document.querySelectorAll('#scores tbody tr:not(.details)')].map(row => "
        f"row.querySelector('td[data-label={column}]').firstChild?.textContent ?? '')"
    )


def click(opened, selector):
    opened.run(f"document.querySelector({json.dumps(selector)}).click()")


def choose(opened, name, value):
    opened.run(
        f"(() => {{ const field = document.forms[0].elements[{json.dumps(name)}]; "
        f"field.value = {json.dumps(value)}; "
        "for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind)); })()"
    )


@needs_chromium
def test_hostile_texts_stay_texts(browser):
    opened, path = browser
    opened.problems.clear()
    opened.open(path)
    assert set(texts(opened, "Target")) == {"net a", EVIL}
    assert METHOD in texts(opened, "Method")
    for number in range(4):
        opened.run(f"document.querySelectorAll('.open')[{number}].click()")
    shown = opened.run("[...document.querySelectorAll('.details')].map(row => row.innerText).join()")
    assert f"{EVIL} <!-- {{{{ 7*7 }}}} 0" in shown
    assert opened.run("window.hacked === undefined")
    assert opened.run("document.querySelectorAll('img, script, iframe').length") == 3
    assert opened.problems == []


@needs_chromium
def test_the_policy_stops_a_script_that_is_not_the_page_s(browser):
    opened, path = browser
    opened.open(path)
    opened.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.ran = 1'}))"
    )
    assert opened.run("window.ran === undefined")


@needs_chromium
def test_columns_sort_in_both_directions_and_the_fragment_keeps_it(browser):
    opened, path = browser
    opened.open(path)
    before = texts(opened, "Score")
    means = sorted(before, key=lambda text: float(text.split()[0]))
    click(opened, "th[data-key=score] button")
    assert texts(opened, "Score") == means
    assert opened.run("document.querySelector('th[data-key=score]').ariaSort") == "ascending"
    click(opened, "th[data-key=score] button")
    assert [t.split()[0] for t in texts(opened, "Score")] == [t.split()[0] for t in means[::-1]]
    assert opened.run("location.hash") == "#sort=-score"
    opened.open(path, opened.run("location.hash"))
    assert [t.split()[0] for t in texts(opened, "Score")] == [t.split()[0] for t in means[::-1]]
    click(opened, "th[data-key=score] button")
    assert texts(opened, "Score") == before


@needs_chromium
def test_what_has_no_rank_comes_last_in_both_directions(browser):
    opened, path = browser
    for direction in ("rank", "-rank"):
        opened.open(path, f"#sort={direction}")
        ranks = texts(opened, "Rank")
        assert ranks[-2:] == ["", ""]
        assert "" not in ranks[:-2]


@needs_chromium
def test_filters_and_search_combine_and_reset(browser):
    opened, path = browser
    opened.open(path)
    total = len(texts(opened, "Target"))
    choose(opened, "target", EVIL)
    assert set(texts(opened, "Target")) == {EVIL}
    choose(opened, "method", "good")
    assert texts(opened, "Method") == ["good"]
    opened.open(path, opened.run("location.hash"))
    assert texts(opened, "Method") == ["good"]
    assert "1 of 1 rows" in opened.run("document.getElementById('status').textContent")
    click(opened, "button[type=reset]")
    assert len(texts(opened, "Target")) == total
    choose(opened, "q", "7*7")  # in the descriptions of one bundle
    assert set(texts(opened, "Target")) == {"net a"}
    choose(opened, "q", "nowhere")
    assert texts(opened, "Target") == []


@needs_chromium
def test_rows_expand_by_keyboard_and_nothing_is_stored(browser):
    opened, path = browser
    opened.open(path)
    opened.run("document.querySelector('th button').focus()")
    for _ in range(len(texts(opened, "Target")) + 20):
        opened.press("Tab")
        if opened.run("document.activeElement.className") == "open":
            break
    opened.press("Enter")
    assert opened.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert "Source" in opened.run("document.querySelector('.details').innerText")
    assert opened.run("location.hash").startswith("#open=")
    opened.open(path, opened.run("location.hash"))
    assert opened.run("document.querySelectorAll('.details').length") == 1
    assert opened.run("document.cookie") == ""
    opened.press("Enter")
    click(opened, ".open[aria-expanded=true]")
    assert opened.run("document.querySelectorAll('.details').length") == 0


@needs_chromium
def test_the_rows_are_copied_as_csv_and_markdown(browser):
    opened, path = browser
    opened.open(path, "#sort=method")
    opened.run(
        "Object.defineProperty(navigator, 'clipboard', "
        "{value: {writeText: async text => { window.copied = text; }}})"
    )
    click(opened, "#csv")
    lines = opened.run("window.copied").splitlines()
    assert lines[0] == "Target,Layer,Method,Metric,Score,Rank,Scored,Distinct,Time,Date"
    assert "'=1+1" in opened.run("window.copied")
    click(opened, "#markdown")
    lines = opened.run("window.copied").splitlines()
    assert lines[1].startswith("| :--- | :--- | :--- | :--- | ---: |")
    assert "\\</script\\>" in opened.run("window.copied")
    assert "as Markdown" in opened.run("document.getElementById('status').textContent")


@needs_chromium
@pytest.mark.parametrize("width", [400, 1280])
def test_the_window_does_not_scroll_sideways(browser, tmp_path, width):
    _, path = browser
    opened = Page(tmp_path, width=width)
    try:
        opened.open(path)
        assert opened.run("document.documentElement.scrollWidth") <= width
    finally:
        opened.close()


@needs_chromium
def test_more_rows_are_added_and_none_disappears(browser, tmp_path):
    opened, _ = browser
    path = tmp_path / "large.html"
    path.write_text(page(large_leaderboard(250)), encoding="utf-8")
    opened.open(path)
    first = texts(opened, "Layer")
    assert len(first) == 100
    click(opened, "#more")
    assert texts(opened, "Layer")[:100] == first
    assert len(texts(opened, "Layer")) >= 250
    assert opened.run("document.getElementById('more').hidden")


class _Outline(html.parser.HTMLParser):
    """The tags of a page, and what is between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.within = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.within.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)


def test_without_a_script_the_page_is_a_table(hostile):
    outline = _Outline(hostile)
    assert sum(tag == "tr" for tag, _ in outline.tags) == 1 + 6
    assert EVIL in outline.within["td"]
    assert [attributes.get("type") for tag, attributes in outline.tags if tag == "script"] == [
        "application/json",
        "application/json",
        None,
    ]
    assert sum(tag == "svg" for tag, _ in outline.tags) == 6
    large = _Outline(page(large_leaderboard(250)))
    assert sum(tag == "tr" for tag, _ in large.tags) == 1 + STATIC_ROWS


def test_the_page_asks_for_nothing(hostile):
    for tag, attributes in _Outline(hostile).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not attributes.keys() & {"src", "href", "action", "style"}
        assert not any(name.startswith("on") for name in attributes)
    markup = re.sub(r"(?s)<script.*?</script>", "", hostile)
    assert "url(" not in markup
    assert "@import" not in markup
    for word in ("localStorage", "sessionStorage", "indexedDB", "fetch(", "eval(", "Function("):
        assert word not in hostile


def test_script_and_style_have_the_hashes_of_the_policy(hostile):
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', hostile)
    assert policy.startswith("default-src 'none'")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", hostile, re.DOTALL)[-1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_script_is_small(repository):
    script = Path(repository / "results/leaderboard/templates/page.js")
    assert script.stat().st_size <= 12_000


def test_a_page_without_scores_is_valid():
    unscored = bundle({"good": GOOD}, references=None, metrics={})
    text = page(build([unscored], n_resamples=100))
    assert "not scored" in text
