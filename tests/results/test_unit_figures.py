"""Figures of units: what is drawn, which units are chosen, and the bytes of the files."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dissectbench.harness.cli import main
from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.files import read_json, write_json
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.run import run
from dissectbench.harness.scores import write_scores
from dissectbench.results.figures import choose_units, chosen_by_hand, draw_units, write_figure
from dissectbench.results.figures.fonts import MISSING, drawable, font, width, wrap
from dissectbench.results.figures.writing import style
from dissectbench.results.unit_view import find_units

SETTINGS = [
    *("name=small", "probe.images=120", "layers=[layer4,fc]", "units=6", "device=cpu"),
    *("method=[clip_dissect,network_dissection]", "metric=[synonym_accuracy]", "table.resamples=50"),
]
HOSTILE = r"cost $x^2$ \frac{1}{2} 100% _under_ <b>&amp;"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its activations and images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield run(compose(SETTINGS), runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def edited(finished, request):
    """A function that returns a copy of the run, with the same store, with other texts and methods."""

    def edit(texts, extra_methods=()):
        folder = finished.path.with_name(re.sub(r"\W", "_", request.node.name))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished.path, folder)
        records = [
            replace(record, text=texts(record), status="ok" if texts(record) is not None else "failed")
            for record in finished.records
        ]
        records += [
            replace(record, method=name)
            for record in records
            if record.method == "clip_dissect"
            for name in extra_methods
        ]
        (folder / "descriptions.jsonl").write_text("".join(r.to_json() + "\n" for r in records))
        selection = read_json(folder / "selection.json")
        selection["methods"] += extra_methods
        write_json(folder / "selection.json", selection, sort_keys=False)
        return FinishedRun(folder)

    return edit


def figure(capfd, *arguments):
    code = main(["figure", *map(str, arguments)])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def drawn_texts(drawn):
    return [text.get_text() for text in drawn.figure.texts]


def test_a_unit_has_a_row_of_exemplars_and_a_line_per_method(finished, tmp_path):
    units = find_units(finished, [f"fc:{finished.selection.units['fc'][0]}"])
    drawn = write_figure(
        lambda: draw_units(finished, chosen_by_hand(units), exemplars=3, columns="one"),
        tmp_path / "one.pdf",
    )
    assert [len(axes.images) for axes in drawn.figure.axes] == [1, 1, 1]
    assert drawn.figure.get_figwidth() == 3.25
    by_method = {
        r.method: r.text or f"({r.status.replace('_', ' ')})"
        for r in finished.records
        if r.unit == units[0]
    }
    texts = drawn_texts(drawn)
    assert texts[0].startswith(f"fc, unit {units[0].index} (reference: ")
    assert texts[1:] == [
        "CLIP-Dissect:",
        by_method["clip_dissect"],
        "Network Dissection:",
        by_method["network_dissection"],
    ]
    [content] = drawn.content["units"]
    assert len(content["exemplars"]) == 3
    assert all(Path(exemplar["path"]).exists() for exemplar in content["exemplars"])
    # Left to right, in descending order, and below each other only for other units.
    lefts = [axes.get_position().x0 for axes in drawn.figure.axes]
    assert lefts == sorted(lefts)


def test_two_columns_place_units_side_by_side_and_one_column_below_each_other(finished):
    choice = choose_units(finished, "random", per_layer=2)
    with style():
        wide = draw_units(finished, choice, exemplars=1, columns="two").figure
        narrow = draw_units(finished, choice, exemplars=1, columns="one").figure
    assert [round(axes.get_position().x0, 2) for axes in wide.axes] == [0.0, 0.51, 0.0, 0.51]
    assert len({round(axes.get_position().x0, 6) for axes in narrow.axes}) == 1
    assert len({round(axes.get_position().y0, 6) for axes in narrow.axes}) == 4


@pytest.mark.parametrize("columns", ["one", "two"])
def test_texts_neither_overlap_nor_leave_the_figure(edited, columns):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    changed = edited(
        lambda r: "a very long description of many things that repeats itself " * (1 + r.unit.index % 3),
        [f"method_number_{number}" for number in range(8)],
    )
    with style():
        drawn = draw_units(changed, choose_units(changed, "random", per_layer=2), columns=columns)
        renderer = FigureCanvasAgg(drawn.figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in drawn.figure.texts]
        boxes += [axes.get_window_extent(renderer) for axes in drawn.figure.axes]
        page = drawn.figure.bbox
    for box in boxes:
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
    for first, second in combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        # Ascenders and descenders of neighbouring lines may touch.
        assert across <= 1 or down <= 2


def test_one_exemplar_does_not_fill_the_page(finished):
    with style():
        drawn = draw_units(finished, choose_units(finished, "random", per_layer=1), exemplars=1)
    assert drawn.figure.get_figheight() < 3


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_hostile_texts_are_drawn_as_they_are(edited, tmp_path, suffix, capfd):
    changed = edited(lambda r: f"{HOSTILE}\n\x1b[31m\u202e")
    units = find_units(changed, [f"fc:{changed.selection.units['fc'][0]}"])
    path = tmp_path / f"hostile.{suffix}"
    drawn = write_figure(lambda: draw_units(changed, chosen_by_hand(units)), path)
    assert f"{HOSTILE} [31m" in " ".join(drawn_texts(drawn))
    assert not any(text.get_parse_math() for text in drawn.figure.texts)
    assert capfd.readouterr() == ("", "")
    if suffix == "svg":
        import xml.etree.ElementTree as ET

        ET.parse(path)


def test_characters_that_no_font_has_are_squares_and_noted(edited, tmp_path, capfd):
    changed = edited(lambda r: "cat \U0010fffd\U000e0fff 𐒀 café")
    unit = f"fc:{changed.selection.units['fc'][0]}"
    code, printed, error = figure(
        capfd, changed.path, "--units", unit, "--out", tmp_path / "f.pdf", "--json"
    )
    assert code == 0
    assert "U+10480" in error
    assert error.startswith("note: ")
    assert "U+10480" in json.loads(printed)["notes"][0]
    missing: set[str] = set()
    assert drawable("a\U00010480b é", missing) == f"a{MISSING}b é"
    assert missing == {"\U00010480"}


def test_lines_are_broken_at_spaces_and_within_long_words():
    with style():
        plain = font(7)
        lines = wrap("the quick brown fox jumps", plain, 50)
        assert " ".join(lines) == "the quick brown fox jumps"
        assert len(lines) > 1
        assert all(width(line, plain) <= 50 for line in lines)
        unbroken = wrap("W" * 60 + " end", plain, 50)
        assert "".join(unbroken).replace(" end", "") == "W" * 60
        assert all(width(line, plain) <= 50 for line in unbroken)
        assert wrap("", plain, 50) == [""]
        assert wrap("W", plain, 0.1) == ["W"]


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_equal_input_gives_equal_bytes_in_every_process(finished, tmp_path, suffix):
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"figure{seed}.{suffix}"
        arguments = ["figure", str(finished.path), "--select", "random", "--out", str(path)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"}
        ended = subprocess.run(
            [sys.executable, "-m", "dissectbench.harness", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stderr == ""
        digests.add(path.read_bytes())
    assert len(digests) == 1


def test_fonts_are_embedded_and_the_caption_is_stored(finished, tmp_path, capfd):
    path = tmp_path / "new" / "figure.pdf"
    code, printed, error = figure(capfd, finished.path, "--select", "random", "--seed", 3, "--out", path)
    assert (code, error) == (0, "")
    caption = path.with_suffix(".txt").read_text().strip()
    assert caption in printed
    assert "2 units of each of layer4, fc, drawn at random" in caption
    assert "seed 3" in caption
    content = path.read_bytes()
    assert b"/Subtype /TrueType" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content
    assert b"chosen by a rule" in content
    assert {entry.name for entry in path.parent.iterdir()} == {"figure.pdf", "figure.txt"}


def test_units_chosen_by_hand_are_called_that(finished, tmp_path, capfd):
    unit = f"fc:{finished.selection.units['fc'][1]}"
    code, printed, _ = figure(
        capfd, finished.path, "--units", unit, "--out", tmp_path / "f.svg", "--json"
    )
    assert code == 0
    content = json.loads(printed)
    assert "The units were chosen by hand." in content["caption"]
    assert [f"{u['layer']}:{u['unit']}" for u in content["units"]] == [unit]
    assert content["size_inches"][0] == 6.875


def test_a_random_choice_is_seeded_and_extends(finished):
    chosen = {seed: choose_units(finished, "random", per_layer=3, seed=seed).units for seed in range(8)}
    assert chosen[0] == choose_units(finished, "random", per_layer=3, seed=0).units
    assert len(set(chosen.values())) > 1
    for seed, units in chosen.items():
        smaller = choose_units(finished, "random", per_layer=2, seed=seed).units
        assert set(smaller) <= set(units)
        assert [unit.layer for unit in units] == ["layer4"] * 3 + ["fc"] * 3


@pytest.mark.parametrize("rule", ["best", "worst"])
@pytest.mark.parametrize("higher", [True, False])
def test_best_and_worst_agree_with_a_search_of_all_units(finished, edited, rule, higher):
    changed = edited(lambda r: r.text or "x")
    frame = finished.scores.copy()
    rng = np.random.default_rng(5)
    frame["score"] = rng.random(len(frame))
    frame["reason"] = None
    # A unit that one method has no score for cannot be compared.
    left_out = finished.selection.units["fc"][2]
    gap = (frame.unit == left_out) & (frame.method == "clip_dissect")
    frame.loc[gap, "score"], frame.loc[gap, "reason"] = np.nan, "failed"
    write_scores(frame, changed.path / "scores.parquet")
    metrics = read_json(changed.path / "metrics.json")
    metrics["synonym_accuracy"]["higher_is_better"] = higher
    write_json(changed.path / "metrics.json", metrics)
    means = frame[~frame.control & (frame.unit != left_out)].groupby("unit").score.mean()
    expected = means.sort_values(ascending=(rule == "worst") == higher).index[:3].tolist()
    choice = choose_units(FinishedRun(changed.path), rule, per_layer=3)
    assert [unit.index for unit in choice.units] == expected
    assert {unit.layer for unit in choice.units} == {"fc"}
    assert f"{rule} mean synonym_accuracy over the 2 methods" in choice.sentence


def test_disagreement_agrees_with_a_search_of_all_units(edited):
    def text(record):
        words = ["red", "car", "on", "a", "road", "at", "night"]
        return (
            " ".join(words[: 1 + record.unit.index % 7]) if record.method == "clip_dissect" else "Red car"
        )

    changed = edited(text)
    by_unit: dict = {}
    for record in changed.records:
        by_unit.setdefault(record.unit, []).append(set((record.text or "").lower().split()))
    agreement = {unit: len(a & b) / len(a | b) for unit, (a, b) in by_unit.items()}
    for layer in ("layer4", "fc"):
        [*chosen] = choose_units(changed, "disagree", per_layer=2, layers=[layer]).units
        lowest = sorted(value for unit, value in agreement.items() if unit.layer == layer)[:2]
        assert [agreement[unit] for unit in chosen] == lowest


def test_ties_are_broken_by_the_seed_and_not_by_the_index(edited):
    changed = edited(lambda r: "same words")
    chosen = {
        choose_units(changed, "disagree", per_layer=1, seed=s, layers=["fc"]).units for s in range(12)
    }
    assert len(chosen) > 2


def test_units_without_two_descriptions_cannot_disagree(edited):
    changed = edited(lambda r: "a car" if r.method == "clip_dissect" else None)
    with pytest.raises(InputError, match="no unit of layer4, fc can be chosen"):
        choose_units(changed, "disagree")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --units or --select"),
        (["--units", "fc:0", "--select", "random"], "give either --units or --select"),
        (["--units", ","], "--units names no unit"),
        (["--units", "fd:0"], "did you mean fc?"),
        (["--select", "random", "--layer", "layer5"], "did you mean layer4?"),
        (["--select", "random", "--method", "clip"], "did you mean clip_dissect?"),
        (["--select", "best", "--metric", "synonym"], "did you mean synonym_accuracy?"),
        (["--select", "random", "--per-layer", "0"], "--per-layer=0 must be at least 1"),
        (["--select", "random", "--exemplars", "0"], "--exemplars=0 must be at least 1"),
        (["--select", "random", "--out", "figure.jpg"], "ends with .pdf, .svg or .png"),
        (["--select", "best", "--layer", "layer4"], "no unit of layer4 can be chosen"),
        (["--select", "random", "--kind", "cost"], "choose units of --kind units"),
    ],
)
def test_a_mistake_is_a_sentence(finished, capfd, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, printed, error = figure(capfd, finished.path, *arguments)
    assert (code, printed) == (2, "")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_what_the_figure_needs_and_is_gone_is_named(finished, tmp_path, capfd):
    folder = shutil.copytree(finished.path, tmp_path / "small")
    code, _, error = figure(capfd, folder, "--select", "random")
    assert code == 2
    assert re.search(r"the activations of layer \w+ of .* are not in", error)
    assert not (folder / "figures").exists()
