"""The page of a run: everything escaped, a strict policy, one file or a folder."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from run_folders import write_run

from dissectbench.harness.records import Candidate, Description, Status, UnitId
from dissectbench.results.pages import bars, content_security_policy, json_block, outline
from dissectbench.results.report import (
    Histogram,
    RunImages,
    ShownImage,
    UnitImages,
    choose_images,
    write_report,
)
from dissectbench.results.report.evidence import evidence_blocks
from dissectbench.results.report.illustrations import ShownEvidence, ShownIllustration, ShownMask

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "'\" onmouseover='window.hacked = 1",
    "<!-- <script>",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:window.hacked=1",
]


def of(layer, index, text, method="words", status: Status = "ok", **more):
    return Description(UnitId("net", layer, index), method, text, status, **more)


def hostile_evidence():
    """Illustrations whose titles, captions and notes are hostile, as those of a language model may be."""
    mask = ShownMask("unit", "0 0 2 2", "M0 0h1v1h-1z")
    return {
        "words": tuple(
            ShownIllustration(text, (ShownEvidence(0, text, 1.5, 0.5, (mask,)),), text)
            for text in HOSTILE
        )
    }


def pictures(*numbers):
    shown = tuple(ShownImage(number, f"image {number}", 1.5, "M1 1h2v2h-2z") for number in numbers)
    return UnitImages(shown, shown, shown, Histogram((3, 1), 0.0, 2.0), 0.5)


@pytest.fixture
def hostile(tmp_path):
    records = [
        of("layer</script>", index, text, candidates=(Candidate(text, 0.5),), evidence={"note": text})
        for index, text in enumerate(HOSTILE)
    ]
    return write_run(tmp_path / "run", records)


def blocks(page, kind):
    """The texts of the inline elements of a kind, as a browser delimits them."""
    return re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", page, re.DOTALL)


class Elements(HTMLParser):
    """Collects the elements of a page and the names of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("one_file", [500, 2])
def test_hostile_texts_stay_texts(hostile, tmp_path, one_file):
    illustrated = replace(pictures(0), evidence=hostile_evidence())
    images = RunImages({("layer</script>", 0): illustrated}, [b"webp"])
    page = write_report(hostile, images, tmp_path / "out", one_file=one_file).read_text()
    scripts = blocks(page, "script")
    assert len(scripts) == 2
    data = json.loads(scripts[0])
    assert [unit[2][0][0] for unit in data["units"]] == HOSTILE
    found = [page]
    if one_file == 500:
        found += [html for of_layer in data["sections"].values() for html, _ in of_layer.values()]
    else:
        text = next((tmp_path / "out" / "data").iterdir()).read_text()
        block, sections = json.loads("[" + text[text.index("(") + 1 : text.rindex(")")] + "]")
        assert block == "layer_script_.0"
        found += [html for html, _ in sections.values()]
    for html in found:
        elements = Elements(html).found
        assert not [tag for tag, attributes in elements if any(a.startswith("on") for a in attributes)]
        assert not [a for tag, a in elements if tag == "img" and "data-thumbnail" not in a]
        assert all(a["alt"] for tag, a in elements if tag == "img")
    alts = [a["alt"] for html in found for tag, a in Elements(html).found if tag == "img"]
    assert set(alts) >= {f"{text}, value 1.5" for text in HOSTILE}


def test_the_policy_allows_only_the_script_and_the_style_of_the_page(hostile, tmp_path):
    page = write_report(hostile, RunImages(), tmp_path / "out").read_text()
    elements = Elements(page).found
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    for text, kind in ((blocks(page, "script")[1], "script"), (blocks(page, "style")[0], "style")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert not [a for _, a in elements if "style" in a]
    for word in ("localStorage", "sessionStorage", "indexedDB", "cookie", "fetch("):
        assert word not in page


def test_each_image_is_stored_once_however_many_units_share_it(tmp_path):
    run = write_run(tmp_path / "run", [of("a", index, f"text {index}") for index in range(3)])
    images = RunImages({("a", index): pictures(0, 1) for index in range(3)}, [b"first", b"second"])
    page = write_report(run, images, tmp_path / "one").read_text()
    assert page.count(base64.b64encode(b"first").decode()) == 1
    assert "thumbs/" not in [path.name for path in (tmp_path / "one").iterdir()]
    folder = tmp_path / "many"
    page = write_report(run, images, folder, one_file=2).read_text()
    assert sorted(path.name for path in (folder / "thumbs").iterdir()) == ["0.webp", "1.webp"]
    assert (folder / "thumbs" / "1.webp").read_bytes() == b"second"
    assert base64.b64encode(b"first").decode() not in page
    # A page that fits into one file again leaves no stale files.
    write_report(run, images, folder)
    assert [path.name for path in folder.iterdir()] == ["index.html"]


def test_layers_with_equal_file_names_get_files_of_their_own(tmp_path):
    layers = ["a/b", "a_b", "A_B", ".."]
    run = write_run(tmp_path / "run", [of(layer, 0, layer) for layer in layers])
    write_report(run, RunImages(), tmp_path / "out", one_file=0)
    files = [path.name.lower() for path in (tmp_path / "out" / "data").iterdir()]
    assert len(set(files)) == 4


def test_without_javascript_the_descriptions_are_in_the_page(tmp_path):
    records = [of("a", 0, "a boat"), of("a", 0, None, "pictures", "below_threshold"), of("a", 1, "sky")]
    page = write_report(write_run(tmp_path / "run", records), RunImages(), tmp_path / "out").read_text()
    static = page[: page.index("<script")]
    for text in ("a boat", "below threshold", "sky", "a / 1", "Descriptions: net"):
        assert text in static


def test_missing_images_and_unfinished_runs_are_named(tmp_path):
    run = write_run(tmp_path / "run", [of("a", 0, "a boat")])
    (run.path / "status.json").write_text(
        json.dumps({**json.loads((run.path / "status.json").read_text()), "state": "interrupted"})
    )
    del run.__dict__["details"]
    page = write_report(run, RunImages(missing="the folder is gone"), tmp_path / "out").read_text()
    assert "The page has no images: the folder is gone" in page
    assert "status: interrupted" in page


def test_evidence_of_any_form_is_arranged():
    record = of(
        "a",
        0,
        "boat",
        candidates=(Candidate("boat", 0.25, {"iou": 0.125, "seeds": [1, 2]}), Candidate("ship", None)),
        evidence={
            "threshold": 1.23456,
            "categories": {"color": {"label": "red", "iou": 0.5}, "object": {"label": "boat"}},
            "captions": ["a <b>", "c"],
            "images": [{"image": 3, "box": [0.1, 0.2]}, {"image": 4}],
            "level": [1.0, 2.0],
            "population": {"size": 4},
            "empty": [],
        },
    )
    found = {block.title: block for block in evidence_blocks(record)}
    assert found["Candidates, best first"].columns == ("candidate", "score", "iou")
    assert found["Candidates, best first"].rows == (("boat", "0.25", "0.125"), ("ship", "", ""))
    assert found["Values"].rows == (("threshold", "1.235"),)
    assert found["categories"].rows == (("color", "red", "0.5"), ("object", "boat", ""))
    assert found["captions"].rows == (("1", "a <b>"), ("2", "c"))
    assert found["images"].rows == (("3", "0.1, 0.2"), ("4", ""))
    assert found["level"].rows == (("", "1, 2"),)
    assert found["population"].rows == (("size", "4"),)
    assert "empty" not in found


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_covers_exactly_the_pixels_of_its_mask(seed):
    mask = np.random.default_rng(seed).random((9, 13)) < 0.5
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


def test_an_outline_of_nothing_is_empty():
    assert outline(np.zeros((4, 4), bool)) == ""
    assert outline(np.ones((2, 3), bool)) in ("M0 0h3v2h-3z", "M0 0h3v2h-3v-2z")


def filled(path, shape):
    """The pixels inside a path of horizontal and vertical lines, by the even-odd rule."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for loop in path.split("z")[:-1]:
        match = re.fullmatch(r"M(\d+ \d+)((?:[hv]-?\d+)*)", loop)
        assert match is not None
        start, steps = match.groups()
        first = x, y = tuple(map(int, start.split()))
        corners = [first]
        for kind, length in re.findall(r"([hv])(-?\d+)", steps):
            x, y = (x + int(length), y) if kind == "h" else (x, y + int(length))
            corners.append((x, y))
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], first], strict=True):
            assert x0 == x1 or y0 == y1
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


def test_bars_fill_the_height():
    assert bars([1, 0, 2], width=30, height=10).count("M") == 2
    assert "v-10.0" in bars([1, 0, 2], width=30, height=10)
    assert bars([], width=30, height=10) == bars([0.0], width=30, height=10) == ""


def test_images_are_chosen_in_three_bands():
    values = np.arange(100, dtype=np.float32)[::-1].copy()
    top, fifths, lowest = choose_images(values)
    assert top.tolist() == list(range(10))
    assert fifths.tolist() == [10, 30, 50, 70, 90]
    assert sorted(lowest.tolist()) == [95, 96, 97, 98, 99]


def test_equal_lowest_values_are_spread_over_the_images():
    values = np.zeros(100, np.float32)
    values[:3] = (1, 2, 3)
    top, _, lowest = choose_images(values)
    assert top[:3].tolist() == [2, 1, 0]
    assert lowest.tolist() == [3, 27, 51, 75, 99]


def test_few_images_are_enough():
    top, fifths, lowest = choose_images(np.array([1.0, 3.0], np.float32))
    assert top.tolist() == [1, 0]
    assert len(fifths) == 5
    assert sorted(lowest.tolist()) == [0, 1]


def test_data_in_a_page_cannot_end_its_element():
    value = {"a": "</script><!--\u2028&<Script><b>"}
    text = json_block(value)
    assert json.loads(text) == value
    assert not re.search("</|<!|<script", text, re.IGNORECASE)


def test_files_of_the_page_are_allowed_only_where_there_are_some():
    assert "file:" not in content_security_policy(["a"], ["b"])
    assert "img-src data: 'self' file:" in content_security_policy(["a"], ["b"], own_files=True)
