"""One unit of a run: what is collected, printed and written as JSON."""

import json
import shutil

import numpy as np
import pytest
from browser import EXECUTABLE, Page
from PIL import Image

from dissectbench.harness.cli import main
from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.run import run
from dissectbench.results.printable import one_line
from dissectbench.results.unit_text import evidence_lines
from dissectbench.results.unit_view import find_units, unit_view

SETTINGS = [
    *("name=small", "probe.images=120", "layers=[layer4,fc]", "units=3", "device=cpu"),
    *("method=[clip_dissect,network_dissection]", "metric=[synonym_accuracy]", "table.resamples=50"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its activations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield run(compose(SETTINGS), runs=tmp_path_factory.mktemp("runs"))


def show(capsys, *arguments):
    code = main(["show", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_everything_recorded_about_a_unit_is_printed(finished, capsys):
    units = finished.selection.units
    of_fc, of_layer4 = f"fc:{units['fc'][0]}", f"layer4:{units['layer4'][1]}"
    code, printed, error = show(capsys, finished.path, of_fc, of_layer4)
    assert (code, error) == (0, "")
    view = unit_view(finished, find_units(finished, [of_fc])[0])
    assert [d.method for d in view.descriptions] == ["clip_dissect", "network_dissection"]
    for description in view.descriptions:
        assert (description.text or description.status.replace("_", " ")) in printed
        assert description.candidates[0].text in printed
    assert f"reference  {' | '.join(view.references)}" in printed
    assert "synonym_accuracy" in printed
    assert "categories.color" in printed
    for exemplar in view.exemplars:
        assert exemplar.path in printed


def test_exemplars_are_the_images_with_the_highest_values(finished):
    unit = find_units(finished, [f"fc:{finished.selection.units['fc'][0]}"])[0]
    view = unit_view(finished, unit, exemplars=4)
    values = [exemplar.value for exemplar in view.exemplars]
    assert values == sorted(values, reverse=True)
    # CLIP-Dissect records the same images as evidence.
    assert [e.image for e in view.exemplars] == list(view.descriptions[0].evidence["exemplars"])[:4]
    assert view.notes == ()


def test_json_has_all_candidates_and_the_exemplars(finished, capsys):
    unit = finished.selection.units["fc"][0]
    code, printed, _ = show(capsys, finished.path, f"fc:{unit}", "--json", "--exemplars", 2)
    assert code == 0
    [content] = json.loads(printed)["units"]
    assert (content["layer"], content["index"], len(content["exemplars"])) == ("fc", unit, 2)
    assert len(content["descriptions"][0]["candidates"]) == 10
    assert {row["metric"] for row in content["scores"]} == {"synonym_accuracy"}
    assert {row["method"] for row in content["scores"]} == {"clip_dissect", "network_dissection"}


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("fd:0", "did you mean fc?"),
        ("layer4", "write LAYER:UNIT"),
        ("fc:x", "write LAYER:UNIT"),
        ("fc:99999", "the nearest are"),
    ],
)
def test_an_unknown_unit_has_a_hint(finished, capsys, unit, message):
    code, printed, error = show(capsys, finished.path, unit)
    assert (code, printed) == (2, "")
    assert message in error


def test_a_misspelt_run_has_a_suggestion(finished, capsys):
    code, _, error = show(capsys, finished.path.with_name("smal"), "fc:0")
    assert code == 2
    assert "did you mean small?" in error


def test_without_activations_the_rest_is_shown(finished, tmp_path, capsys):
    folder = shutil.copytree(finished.path, tmp_path / "small")
    unit = finished.selection.units["fc"][0]
    code, printed, _ = show(capsys, folder, f"fc:{unit}")
    assert code == 0
    assert "no exemplars: the activations of layer fc" in printed
    assert "clip_dissect" in printed


def test_without_images_the_values_are_shown(finished, tmp_path):
    shutil.copytree(finished.path.parent, tmp_path / "runs")
    folder = tmp_path / "runs" / "small"
    config = (folder / "config.yaml").read_text().replace("images: 120", "images: 60")
    (folder / "config.yaml").write_text(config)
    run_without = FinishedRun(folder)
    view = unit_view(run_without, next(iter(run_without.all_records))[0])
    assert [exemplar.path for exemplar in view.exemplars] == [None] * 10
    assert "have changed" in view.notes[0]


def test_a_folder_of_scores_has_no_units(finished, tmp_path):
    folder = shutil.copytree(finished.path, tmp_path / "scores")
    (folder / "descriptions.jsonl").unlink()
    with pytest.raises(InputError, match="no descriptions of units"):
        find_units(FinishedRun(folder), ["fc:0"])


def test_evidence_is_short_and_readable():
    lines = evidence_lines(
        {
            "images": list(range(9)),
            "score": np.float64(0.123456).item(),
            "nested": {"color": {"iou": 0.5, "label": "dark red", "box": None}},
            "crops": [{"caption": "a, b", "image": 3}] * 6,
            "empty": [],
            "orders": [[0, 1], [1, 0]],
            "summaries": [{"label": "car", "tries": [{"reply": "a car", "problem": None}]}],
        }
    )
    assert lines[:3] == [
        ("images", "0, 1, 2, 3, 4, … (9 in all)"),
        ("score", "0.1235"),
        ("nested.color", 'iou=0.5, label="dark red"'),
    ]
    assert lines[3] == ("crops.0", 'caption="a, b", image=3')
    assert lines[8:] == [
        ("crops", "… (6 in all)"),
        ("empty", "none"),
        ("orders", "[0, 1], [1, 0]"),
        ("summaries.0", 'label=car, tries=[(reply="a car")]'),
    ]


def test_control_characters_do_not_reach_the_terminal():
    assert one_line("a\x1b[2Jb\n\tc\u202e \x00d") == "a[2Jb c d"


def units_of(finished):
    units = finished.selection.units
    return [f"fc:{units['fc'][0]}", f"layer4:{units['layer4'][1]}"]


def test_units_are_written_as_a_page_of_their_own(finished, capsys, tmp_path):
    names, path = units_of(finished), tmp_path / "new" / "unit.html"
    code, printed, error = show(capsys, finished.path, *names, "--out", path)
    assert (code, printed.strip(), error) == (0, str(path), "")
    page = path.read_text()
    assert "<script" not in page
    assert "script-src ;" in page
    # Three bands, and the images of the evidence.
    assert page.count("data:image/webp;base64,") > 2 * 20
    assert "data-thumbnail" not in page
    assert f"<title>{', '.join(names)} of " in page
    for name in names:
        for description in unit_view(finished, find_units(finished, [name])[0]).descriptions:
            assert description.candidates[0].text in page


@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")
def test_the_page_of_a_unit_needs_no_script_and_no_network(finished, capsys, tmp_path):
    show(capsys, finished.path, units_of(finished)[0], "--out", tmp_path / "unit.html")
    page = Page(tmp_path / "profile", width=400)
    try:
        page.open(tmp_path / "unit.html")
        # Images of folded evidence are loaded when they are shown.
        page.run("for (const image of document.images) image.loading = 'eager'; true")
        page.wait("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.run("document.images.length") > 20
        assert page.run("getComputedStyle(document.querySelector('.unit')).borderRadius") == "8px"
        assert page.run("document.documentElement.scrollWidth") <= 400
        assert not page.run("document.querySelector('.unit button').checkVisibility()")
        assert page.problems == []
    finally:
        page.close()


def test_units_are_drawn_without_a_browser(finished, capsys, tmp_path):
    path = tmp_path / "unit.PNG"
    code, printed, error = show(capsys, finished.path, units_of(finished)[0], "--out", path)
    assert (code, printed.strip(), error) == (0, str(path), "")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1000
    # A caption would replace a file of the user.
    assert list(tmp_path.iterdir()) == [path]


def test_the_page_of_a_unit_is_opened_in_a_browser(finished, capsys, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda uri: opened.append(uri) or True)
    name = units_of(finished)[0]
    code, printed, error = show(capsys, finished.path, name, "--open")
    path = finished.path / "report" / f"unit-{name.replace(':', '-')}.html"
    assert (code, printed.strip(), error) == (0, str(path), "")
    assert opened == [path.resolve().as_uri()]
    code, printed, _ = show(capsys, finished.path, name, "--open", "--json", "--out", tmp_path / "a.html")
    assert json.loads(printed)["file"] == str(tmp_path / "a.html")
    assert opened[1] == (tmp_path / "a.html").as_uri()
    monkeypatch.setattr("webbrowser.open", lambda uri: False)
    code, printed, error = show(capsys, finished.path, name, "--open")
    assert (code, printed.strip()) == (0, str(path))
    assert error.startswith("no browser was found: open")


@pytest.mark.parametrize("name", ["unit.svg", "unit"])
def test_other_files_are_refused(finished, capsys, tmp_path, name):
    code, printed, error = show(capsys, finished.path, units_of(finished)[0], "--out", tmp_path / name)
    assert (code, printed) == (2, "")
    assert "use a name that ends with .html or .png" in error
    assert not list(tmp_path.iterdir())


def test_units_of_an_earlier_command_are_not_drawn(finished, capsys, tmp_path):
    copy = shutil.copytree(finished.path, tmp_path / "small")
    name = units_of(finished)[0]
    selection = json.loads((copy / "selection.json").read_text())
    selection["units"]["fc"] = selection["units"]["fc"][1:]
    (copy / "selection.json").write_text(json.dumps(selection))
    code, _, error = show(capsys, copy, name, "--out", tmp_path / "unit.html")
    assert code == 2
    assert "did not select unit" in error
    assert show(capsys, copy, name)[0] == 0
