"""The page of a run in a browser: search, filters, links to units, keys; hostile texts do nothing."""

import io
import json

import numpy as np
import pytest
from browser import EXECUTABLE, Page
from PIL import Image
from run_folders import write_run

from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.results.report import Histogram, RunImages, ShownImage, UnitImages, write_report
from dissectbench.results.report.illustrations import ShownEvidence, ShownIllustration, ShownMask
from dissectbench.results.report.neighbours import Neighbour
from dissectbench.results.report.sentences import Sentences

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")

HOSTILE = '</script><img src="x" onerror="window.hacked=1"><script>window.hacked=1</script>'
LAYERS = ("layer1", "blocks.2/conv 1?#%")


def records():
    texts = ["a red boat", "the sea", HOSTILE, "a BOAT house"]
    for layer in LAYERS:
        for index, text in enumerate(texts):
            unit = UnitId("net", layer, index)
            label = Candidate(text, index / 10, {"category": "scene" if index == 1 else "object"})
            yield Description(unit, "first", text, "ok", index / 10, (label,), evidence={"note": HOSTILE})
            if layer == "layer1" and index == 1:
                yield Description(unit, "second", None, "below_threshold")
            elif index == 1:
                yield Description(unit, "second", text, score=0.5)
            else:
                yield Description(unit, "second", f"the sea {index}", score=0.5)


def sentences():
    """Embeddings in which "the sea ..." are alike, and other texts are at a right angle to them."""
    texts = sorted({record.text for record in records() if record.text is not None})
    vectors = np.eye(len(texts), len(texts) + 1, dtype=np.float32)
    for row, text in enumerate(texts):
        if text.startswith("the sea"):
            vectors[row, [row, -1]] = 0.6, 0.8
    return Sentences.of("an encoder", texts, vectors)


def thumbnail(colour=(200, 80, 40)):
    file = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(file, "WEBP")
    return file.getvalue()


@pytest.fixture(scope="module", params=["one file", "folder"])
def address(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = write_run(folder / "run", records())
    shown = (ShownImage(0, f"image {HOSTILE}", 1.5, "M10 10h20v20h-20z"),)
    near = (Neighbour("layer1", 3, 0.5), Neighbour(LAYERS[1], 2, 0.25))
    images = UnitImages(shown, shown, shown, Histogram((3, 1), 0.0, 2.0), 0.5, near)
    of_units = {(layer, index): images for layer in LAYERS for index in range(4)}
    one_file = 500 if request.param == "one file" else 2
    return write_report(
        run,
        RunImages(of_units, [thumbnail()]),
        folder / "out",
        sentences=sentences(),
        one_file=one_file,
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture
def page(browser, address):
    browser.problems.clear()
    browser.open(address)
    yield browser
    assert browser.run("window.hacked") is None
    assert browser.problems == []


def names(page):
    return page.run("[...document.querySelectorAll('#units .name')].map(e => e.textContent)")


def type_into(page, name, value):
    page.run(
        f"(() => {{ const e = document.getElementById('{name}'); e.value = {json.dumps(value)};"
        "e.dispatchEvent(new Event(e.tagName === 'INPUT' ? 'input' : 'change')); })()"
    )


def opened(page):
    """The heading of the open unit, when its images are loaded."""
    page.wait(
        "document.querySelector('.unit') && "
        "[...document.querySelectorAll('.unit img')].every(i => i.complete && i.naturalWidth === 96)"
    )
    return page.run("document.querySelector('.unit h3').textContent")


def test_search_finds_words_in_descriptions(page):
    assert len(names(page)) == 8
    type_into(page, "q", "boat")
    assert names(page) == [f"{layer} / {index}" for layer in LAYERS for index in (0, 3)]
    assert page.run("[...document.querySelectorAll('mark')].map(e => e.textContent)") == [
        *("boat", "BOAT") * 2
    ]
    assert page.run("document.getElementById('count').textContent") == "4 of 8 units"
    assert "q=boat" in page.run("location.hash")


def test_filters_combine(page):
    type_into(page, "layer", "layer1")
    assert len(names(page)) == 4
    type_into(page, "status", "below_threshold")
    assert names(page) == ["layer1 / 1"]
    type_into(page, "method", "first")
    assert names(page) == []
    type_into(page, "status", "")
    type_into(page, "sort", "score")
    assert names(page) == [f"layer1 / {index}" for index in (3, 2, 1, 0)]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_link_opens_its_unit_with_images(browser, address, layer):
    browser.open(address)
    link = browser.run(
        "[...document.querySelectorAll('a.row')]"
        f".find(e => e.textContent.startsWith({json.dumps(layer + ' / 2')})).hash"
    )
    browser.open(address, link)
    assert opened(browser) == f"{layer} / 2"
    assert browser.run("document.querySelector('.unit .text').textContent") == HOSTILE
    assert browser.run("document.querySelectorAll('.unit svg path.edge').length") == 3
    assert browser.run("document.querySelector('.unit img').alt").startswith(f"image {HOSTILE}, value")
    assert browser.run("window.hacked") is None


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (
            "#layer1/77",
            "Unit 77 of layer1 is not on this page. It has 4 units of this layer, from 0 to 3.",
        ),
        ("#layer9/0?q=boat", "layer9/0 is not on this page. Its layers are layer1, blocks.2/conv 1?#%."),
        ("#<img src=x onerror=hacked=1>/0", "<img src=x onerror=hacked=1>/0 is not on this page."),
    ],
)
def test_a_link_to_a_unit_that_is_not_on_the_page_says_so(browser, address, link, message):
    browser.open(address, link)
    told = browser.run("document.getElementById('unknown').textContent")
    assert told.startswith(message)
    assert browser.run("document.getElementById('unknown').checkVisibility()")
    browser.run("location.hash = '#layer1/1'")
    assert opened(browser) == "layer1 / 1"
    assert not browser.run("document.getElementById('unknown').checkVisibility()")
    browser.open(address, "#overview")
    assert not browser.run("document.getElementById('unknown').checkVisibility()")
    assert browser.run("window.hacked") is None


def test_a_link_opens_its_unit_despite_the_filters(browser, address):
    browser.open(address, "#layer1/1?q=boat&status=nonsense")
    assert opened(browser) == "layer1 / 1"
    assert len(names(browser)) == 5


def test_keys_step_through_the_units(page):
    page.press("j")
    assert opened(page) == "layer1 / 0"
    page.press("j")
    page.wait("document.querySelector('.unit h3')?.textContent === 'layer1 / 1'")
    page.press("k")
    page.wait("document.querySelector('.unit h3')?.textContent === 'layer1 / 0'")
    page.press("Escape")
    page.wait("!document.querySelector('.unit')")
    assert page.run("location.hash") == ""
    page.press("/")
    assert page.run("document.activeElement.id") == "q"
    page.press("j")  # typed into the field
    assert page.run("document.getElementById('q').value") == "j"


def test_images_are_loaded_when_a_unit_opens(page):
    assert page.run("document.images.length") == 0
    page.run("document.querySelector('a.row').click()")
    assert opened(page) == "layer1 / 0"
    page.run("document.querySelector('[data-do=next]').click()")
    page.wait("document.querySelector('.unit h3')?.textContent === 'layer1 / 1'")
    page.run("document.querySelector('[data-do=close]').click()")
    page.wait("!document.querySelector('.unit')")


def test_units_are_filtered_by_category_and_agreement(page):
    type_into(page, "category", "scene")
    assert names(page) == [f"{layer} / 1" for layer in LAYERS]
    type_into(page, "category", "")
    type_into(page, "agreement", "same")
    assert names(page) == [f"{LAYERS[1]} / 1"]
    assert "agreement=same" in page.run("location.hash")
    type_into(page, "agreement", "similar")
    assert names(page) == [f"{LAYERS[1]} / 1"]
    type_into(page, "agreement", "different")
    assert names(page) == [f"{layer} / {index}" for layer in LAYERS for index in (0, 2, 3)]
    type_into(page, "agreement", "")
    type_into(page, "sort", "distinct")
    # Units with a single description are last.
    assert names(page)[-2:] == [f"{LAYERS[1]} / 1", "layer1 / 1"]


def test_nearest_units_are_links(page):
    page.run("location.hash = '#layer1/1'")
    assert opened(page) == "layer1 / 1"
    rows = (
        "[...document.querySelectorAll('.near dd')].map(e => e.textContent.replace(/\\s+/g, ' ').trim())"
    )
    by_values, by_first = page.run(rows)
    assert by_values == "3 0.50blocks.2/conv 1?#% / 2 0.25"
    assert by_first.startswith("blocks.2/conv 1?#% / 1 the sea 1.00")
    page.run("document.querySelectorAll('.near a')[1].click()")
    page.wait(f"document.querySelector('.unit h3')?.textContent === {json.dumps(LAYERS[1] + ' / 2')}")


def test_paper_shows_the_whole_section_of_an_open_unit_and_no_controls(page):
    page.run("location.hash = '#layer1/2'")
    opened(page)
    seen = (
        "['.unit .evidence table', '.unit h3', '#controls', '.unit button', '#overview', '.row']"
        ".map(s => document.querySelector(s).checkVisibility())"
    )
    page.run(
        "addEventListener('beforeprint', () => {"
        " window.folded = document.querySelectorAll('.unit details:not([open])').length; })"
    )
    assert page.pdf().startswith(b"%PDF")
    assert page.run("window.folded") == 0
    # On the screen, everything is as before.
    assert page.run(seen) == [False, True, True, True, True, True]
    page.media("print")
    page.run("dispatchEvent(new Event('beforeprint'))")
    try:
        assert page.run(seen) == [True, True, False, False, False, False]
    finally:
        page.media("screen")
        page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run(seen) == [False, True, True, True, True, True]


def test_a_unit_is_copied_as_json(page):
    page.run("document.querySelector('a.row').click()")
    opened(page)
    page.run(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: t => { window.copied = t; }}})"
    )
    page.run("document.querySelector('[data-do=copy]').click()")
    page.wait("window.copied")
    copied = json.loads(page.run("window.copied"))
    assert (copied["layer"], copied["unit"]) == ("layer1", 0)
    assert [d["text"] for d in copied["descriptions"]] == ["a red boat", "the sea 0"]
    assert copied["layer_fingerprint"] == "print of layer1"


def test_a_narrow_screen_needs_no_horizontal_scrolling(address, tmp_path):
    page = Page(tmp_path / "profile", width=400, dark=True)
    try:
        page.open(address, "#layer1/2")
        opened(page)
        assert page.run("document.documentElement.scrollWidth") <= 400
        dark = page.run("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, dark[4:-1].split(","))) < 200
    finally:
        page.close()


def test_long_lists_are_shown_in_pages(browser, tmp_path):
    run = write_run(
        tmp_path / "run",
        (Description(UnitId("net", "a", index), "first", f"text {index}") for index in range(250)),
    )
    address = write_report(run, RunImages(), tmp_path / "out", one_file=50)
    assert len(list((address.parent / "data").iterdir())) == 3
    browser.open(address)
    assert names(browser) == [f"a / {index}" for index in range(100)]
    browser.run("document.getElementById('more').click()")
    assert names(browser) == [f"a / {index}" for index in range(100, 200)]
    browser.press("j")
    browser.wait("document.querySelector('.unit h3')?.textContent === 'a / 100'")
    browser.press("k")
    browser.wait("document.querySelector('.unit h3')?.textContent === 'a / 99'")
    assert names(browser)[0] == "a / 0"
    browser.open(address, "#a/249")
    assert opened(browser) == "a / 249"
    assert names(browser) == [f"a / {index}" for index in range(200, 250)]
    assert browser.run("document.getElementById('count').textContent") == "201–250 of 250 units"
    assert browser.run("document.getElementById('more').hidden")


def test_two_runs_are_compared_unit_by_unit(browser, tmp_path):
    shown = (ShownImage(0, "image", 1.5, ""),)
    images = UnitImages(shown, shown, shown, Histogram((3, 1), 0.0, 2.0))
    runs = []
    for name, texts in (("old", ["sea", "boat", "sky"]), ("new", ["sea", "a red boat", "sky", "tree"])):
        run = write_run(
            tmp_path / name,
            (Description(UnitId("net", "a", index), "words", text) for index, text in enumerate(texts)),
        )
        # Another target: its activations, and so its images, differ.
        run.identity["layer/a"] = f"print of {name}"
        of_units = {("a", index): images for index in range(len(texts))}
        runs.append((run, RunImages(of_units, [thumbnail()])))
    address = write_report(runs[0][0], runs[0][1], tmp_path / "out", others=runs[1:])
    browser.problems.clear()
    browser.open(address, "#?sort=changes")
    assert names(browser) == ["a / 1", "a / 0", "a / 2", "a / 3"]
    assert browser.run("document.title").startswith("old and new")
    browser.run("document.querySelector('a.row').click()")
    assert opened(browser) == "a / 1"
    texts = "[...document.querySelectorAll('.unit .descriptions .text')].map(e => e.textContent)"
    assert browser.run(texts) == ["boat", "a red boat"]
    assert browser.run("document.querySelectorAll('.unit img').length") == 6
    assert browser.run("[...document.querySelectorAll('.row')].at(-1).textContent") == (
        "a / 3old: wordsmissingnew: wordstree"
    )
    assert browser.problems == []


@pytest.mark.parametrize("one_file", [500, 0])
def test_images_of_evidence_are_loaded_when_it_is_opened_and_their_texts_do_nothing(
    browser, tmp_path, one_file
):
    mask = ShownMask("label", "0 0 2 2", "M0 0h1v1h-1z")
    image = ShownEvidence(1, HOSTILE, 1.5, 0.25, (mask,))
    evidence = {"first": (ShownIllustration(HOSTILE, (image,), HOSTILE),)}
    shown = (ShownImage(0, "image", 1.5),)
    images = UnitImages(shown, shown, shown, Histogram((3, 1), 0.0, 2.0), evidence=evidence)
    run = write_run(tmp_path / "run", records())
    thumbnails = [thumbnail(), thumbnail((10, 200, 30))]
    address = write_report(
        run, RunImages({("layer1", 0): images}, thumbnails), tmp_path / "out", one_file=one_file
    )
    browser.problems.clear()
    browser.open(address, "#layer1/0")
    browser.wait("document.querySelector('.evidence img')")
    browser.run("document.querySelector('details.evidence').open = true")
    browser.wait("document.querySelector('.evidence img').naturalWidth === 96")
    assert browser.run("document.querySelector('.evidence img').alt") == f"{HOSTILE}, value 1.5"
    assert browser.run("document.querySelector('.evidence h5').textContent") == HOSTILE
    assert browser.run("document.querySelector('.evidence figcaption').textContent") == f"1.5{HOSTILE}"
    assert browser.run("document.querySelector('.evidence meter').value") == 0.25
    assert browser.run("document.querySelector('.evidence .picture path').getBBox().width") == 1
    assert browser.run("window.hacked") is None
    assert browser.problems == []
