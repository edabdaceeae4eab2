"""Published tables are recomputed from the authors' files, and compared with the printed numbers."""

import csv
import json
import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.cli import main
from dissectbench.harness.errors import InputError
from dissectbench.results.reproduce import PublishedFiles, known_tables, load_table, reproduce_table
from dissectbench.results.reproduce.published_table import folder as folder_of_tables
from dissectbench.results.reproduce.recipe import Part
from dissectbench.results.reproduce.verdicts import Printed, agrees

HEADER = "title: t\nsource: {printed_in: a paper, url: 'https://example.org'}\n"


class LengthScorer:
    """Scores a pair by its first text's length: no model."""

    def available(self, metric):
        return metric == "clip_cosine"

    def model(self, metric):
        return "length"

    def identity(self, metric):
        return "0" * 64

    def scores(self, metric, pairs):
        return np.array([float(len(text)) for text, _ in pairs])


def cells(table, *folders, scorer=None):
    """The recomputed cells of a table, by (row, column)."""
    reproduction = reproduce_table(table, PublishedFiles(folders), scorer or LengthScorer())
    return {(cell.row, cell.column): cell for cell in reproduction.cells}


def outcome(cell):
    """The recomputed number of a cell; fails without one."""
    assert cell.outcome is not None, cell.needs
    return cell.outcome


def written(tmp_path, parts, header=HEADER):
    """A table from the YAML text of its parts."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"{header}parts:\n{parts}", encoding="utf-8")
    return str(path)


# --- verdicts -----------------------------------------------------------------------------------------


decimals = st.decimals(min_value=-100, max_value=100, places=3, allow_nan=False)


@given(decimals, st.integers(0, 4), st.fractions(-1, 1))
def test_a_number_within_half_of_the_last_digit_is_confirmed_and_no_other(number, places, offset):
    text = f"{number:.{places}f}"
    printed = Printed.of(text)
    value = Fraction(text) + offset * printed.step
    if abs(offset) <= Fraction(1, 2):
        assert agrees(printed, value)
    elif abs(offset) > Fraction(1, 2) + Fraction(1, 1000):
        assert not agrees(printed, value)


@given(decimals, st.integers(0, 2))
def test_rounding_half_up_and_half_to_even_are_both_confirmed(number, places):
    step = Decimal(1).scaleb(-places)
    for rounding in ("ROUND_HALF_UP", "ROUND_HALF_EVEN", "ROUND_HALF_DOWN"):
        text = f"{number.quantize(step, rounding=rounding):f}"
        # float: what a recipe computes has an error in the last bits.
        assert agrees(Printed.of(text), float(number))


@pytest.mark.parametrize(
    ("text", "value", "step", "verdict"),
    [
        ("50.89", 50.885, None, True),
        ("3.67", 3.665, None, True),
        ("3.67", 3.6649, None, False),
        ("0.7598", 0.75951, "0.00048828125", True),
        ("0.7598", 0.75951, None, False),
        ("883", 883, None, True),
        ("883", 884, None, False),
    ],
)
def test_the_printed_digits_or_a_larger_step_decide(text, value, step, verdict):
    assert agrees(Printed.of(text, step and Decimal(step)), value) == verdict


def test_the_rounding_of_inputs_widens_what_agrees():
    assert not agrees(Printed.of("0.8489"), 0.84880)
    assert agrees(Printed.of("0.8489"), 0.84880, Fraction(1, 20000))


# --- data files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known_tables())
def test_every_table_is_valid_and_says_where_it_was_printed(name):
    table = load_table(name)
    assert table.name == name
    assert table.source.url.startswith("https://")
    assert all(isinstance(part, Part) for part in table.parts)


def test_there_is_a_table_for_every_published_comparison():
    assert len(known_tables()) >= 12
    assert {"dnd_poster_table1", "dnd_scoring_study", "netdissect_detectors"} <= set(known_tables())


CELLS = "    cells: {a: {x: '1'}}\n"
NEEDS = "  - {recipe: not_available, needs: y, "
TEXTS = "  - recipe: text_similarity\n    predictions: {a: {texts: [{file: f.csv}]}}\n"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (f"  - recipe: sum\n{CELLS}", "parts.0: Input tag 'sum'"),
        ("  - {recipe: not_available, cells: {a: {x: '1'}}}\n", "needs: Field required"),
        (NEEDS + "cells: {a: {x: 1.50}}}\n", "write printed numbers in quotes"),
        (NEEDS + "cells: {a: {x: '1e5'}}}\n", "cells.a.x"),
        (NEEDS + "cells: {a: {x: 'nan'}}}\n", "cells.a.x"),
        (NEEDS + "cells: {}}\n", "cells"),
        (NEEDS + "extra: 1, cells: {a: {x: '1'}}}\n", "extra"),
        (NEEDS + "step: -1, cells: {a: {x: '1'}}}\n", "step"),
        (NEEDS + "cells: {a: {x: '1', x: '2'}}}\n", "'x' is repeated"),
        ((NEEDS + "cells: {a: {x: '1'}}}\n") * 2, "parts.1.cells: the cell 'a', 'x' appears twice"),
        (f"  - recipe: combination\n    weights: {{b: 1}}\n{CELLS}", "'a', 'x' is computed from 'b'"),
        (f"  - recipe: combination\n    weights: {{b: 1}}\n    divisor: 0\n{CELLS}", "divisor"),
        (f"  - recipe: detectors\n    paths: {{a: ../../etc/passwd}}\n{CELLS}", "paths.a"),
        (f"  - recipe: detectors\n    paths: {{a: /etc/passwd}}\n{CELLS}", "paths.a"),
        (f"  - recipe: detectors\n    paths: {{a: f.csv}}\n{CELLS}", "cells.a: 'x' is none of units"),
        (f"  - recipe: detectors\n    paths: {{b: f.csv}}\n{CELLS}", "'a' is none of b"),
        (
            f"{TEXTS}    references: {{lines: l.txt}}\n    metric: {{x: clip_cosine}}\n{CELLS}",
            "models: the model of the metric 'clip_cosine' is not named",
        ),
        (
            f"{TEXTS}    references: {{}}\n    metric: {{x: clip_cosine}}\n{CELLS}",
            "give either lines or texts",
        ),
        ("  - &a {recipe: not_available}\n  - *a\n", "aliases are not supported"),
        ("  - !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("  - [\n", "not valid YAML"),
        ("  " + "[" * 3000 + "\n", "nested too deeply"),
        ("  - 5\n", "parts.0"),
        (NEEDS + "step: 1e-999999, cells: {a: {x: '1'}}}\n", "step"),
        (NEEDS + "day: 2001-99-99, cells: {a: {x: '1'}}}\n", "not valid YAML"),
        (NEEDS + "n: " + "9" * 5000 + ", cells: {a: {x: '1'}}}\n", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_hostile_or_wrong_file_is_refused_with_its_name_and_key(tmp_path, parts, problem):
    path = written(tmp_path, parts)
    with pytest.raises(InputError) as refusal:
        load_table(path)
    assert path in str(refusal.value)
    assert problem in str(refusal.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    for content, problem in ((b"- 1\n", "not a mapping"), (b"\xff\n", "UTF-8"), (b"", "not a mapping")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=problem):
            load_table(str(path))
    with pytest.raises(InputError, match="No such file"):
        load_table(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize("name", known_tables())
def test_a_damaged_table_is_read_or_refused_but_never_crashes(tmp_path, name):
    lines = (folder_of_tables() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    rng = random.Random(name)
    path = tmp_path / "damaged.yaml"
    for _ in range(12):
        damaged = lines.copy()
        place = rng.randrange(len(lines))
        text = damaged[place]
        damaged[place : place + 1] = rng.choice(
            [
                [],
                [text, text],
                [text[: len(text) // 2]],
                [f" {text}"],
                [text.replace(":", ": -1e999999", 1)],
                [text.replace("'", "", 1)],
                [text.replace("a", "\u00e9\u202e", 1)],
                [f"{text} 2001-99-99", "x: 2001-99-99", "9" * 5000],
            ]
        )
        path.write_text("\n".join(damaged), encoding="utf-8")
        cells, refused = 0, ""
        try:
            cells = len(reproduce_table(load_table(str(path)), PublishedFiles(), LengthScorer()).cells)
        except InputError as error:
            refused = str(error)
        assert cells or "damaged.yaml" in refused


# --- a small published folder -------------------------------------------------------------------------

RATINGS = """Layer,Unit,A E1,B E1,A E2,B E2,N E1,N E2
1,0,5,1,4,2,FALSE,FALSE
1,1,3,3,3,3,TRUE,FALSE
2,5,2,4,1,5,FALSE,TRUE
"""
STUDY = """    study:
      file: ratings.csv
      layer: Layer
      raters: [E1, E2]
      ratings: {A: [A E1, A E2], B: [B E1, B E2]}
      flags: {N: [N E1, N E2]}
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "published"
    path.mkdir()
    (path / "ratings.csv").write_text(RATINGS)
    (path / "labels.csv").write_text("layer,unit,description\nfc,1,a red car\nfc,0,Boat\nfc,2,a\n")
    (path / "other.csv").write_text("layer,unit,description\nlast,0,Boat\nlast,1,a car\n")
    (path / "lines.txt").write_text("boat, ship\ncar, auto\n")
    categories = ("color", "object", "part", "material", "scene", "texture")
    columns = [f"{c}-{cell}" for c in categories for cell in ("label", "iou")]
    with (path / "netdissect.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["unit", "category", "label", "score", *columns])
        ious = [[0.05, 0.09, 0, 0, 0, 0], [0.04, 0.02, 0, 0, 0.01, 0], [0.06, 0.041, 0, 0, 0, 0.01]]
        for unit, row in enumerate(ious, start=1):
            labels = ["red-c", "car" if unit < 3 else "dog", "", "", "street-s", "dotted"]
            best = labels[int(np.argmax(row))]
            pairs = [x for pair in zip(labels, row, strict=True) for x in pair]
            writer.writerow([unit, "x", best, max(row), *pairs])
    return path


def test_ratings_are_selected_by_flag_rater_and_layer(tmp_path, folder):
    parts = f"""  - recipe: rating_statistics
{STUDY}    statistics:
      mean: {{statistic: mean}}
      E2: {{statistic: mean, rater: E2}}
      layer: {{statistic: mean, layer: '2'}}
      kept: {{statistic: mean, without: [N]}}
      split: {{statistic: split (%)}}
      top: {{statistic: top (%)}}
      unique: {{statistic: unique (%)}}
    cells:
      {{mean: {{A: '3.0'}}, E2: {{A: '2.67'}}, layer: {{B: '4.6'}}, kept: {{A: null}},
      split: {{A: null}}, top: {{A: null}}, unique: {{A: null}}}}
  - recipe: flag_counts
{STUDY}    cells: {{N: {{E1: '1', both: '0'}}}}
"""
    found = cells(load_table(written(tmp_path, parts)), folder)
    assert found["mean", "A"].verdict == "confirmed"
    assert found["E2", "A"].verdict == "confirmed"  # 8 / 3
    assert (outcome(found["layer", "B"]).value, found["layer", "B"].verdict) == (4.5, "differs")
    assert (outcome(found["kept", "A"]).value, outcome(found["kept", "A"]).units) == (14 / 4, 4)
    shares = [outcome(found[row, "A"]).value for row in ("split", "top", "unique")]
    assert shares == pytest.approx([50, 100 * 4 / 6, 50])
    assert found["N", "E1"].verdict == found["N", "both"].verdict == "confirmed"


def test_paired_differences_have_an_exact_p_value(tmp_path, folder):
    parts = f"""  - recipe: rating_differences
{STUDY}    pairs: {{A - B: [A, B]}}
    cells: {{A - B: {{difference: null, p: null, wins: null, ties: null, losses: null}}}}
"""
    found = cells(load_table(written(tmp_path, parts)), folder)
    # Sums over raters: +6, 0, -6. Every sign pattern gives a sum at least as far from zero.
    values = [outcome(found["A - B", c]).value for c in ("difference", "p", "wins", "ties", "losses")]
    assert values == [0, 1, 1, 1, 1]


def test_detectors_are_counted_under_both_rules(tmp_path, folder):
    parts = """  - recipe: detectors
    paths: {a: netdissect.csv}
    cells:
      a: {units: '3', detectors: '2', unique: '3', 'unique, best label only': '2', color: '1', part: '0'}
"""
    found = cells(load_table(written(tmp_path, parts)), folder)
    assert {cell.verdict for cell in found.values()} == {"confirmed"}  # an IoU of 0.04 does not exceed it


def test_texts_are_scored_counted_and_compared_by_unit(tmp_path, folder):
    header = HEADER + "models: {clip_cosine: CLIP, mpnet_cosine: mpnet}\n"
    parts = """  - recipe: text_similarity
    predictions:
      own: {texts: [{file: labels.csv, layer: fc}]}
      constant: {texts: [{file: labels.csv, layer: fc}], text: thing}
    references: {lines: lines.txt}
    metric: {length: clip_cosine, other: mpnet_cosine}
    cells: {own: {length: '6.5', other: '1'}, constant: {length: '5'}}
  - recipe: equal_texts
    pairs: {equal: [{file: labels.csv, layer: fc}, {file: other.csv, layer: last}]}
    cells: {equal: {equal texts: '1', units: '2'}}
  - recipe: word_counts
    texts: {file: labels.csv, layer: fc}
    words: {a: [a], red or boat: [red, boat]}
    cells: {a: {occurrences: '2', descriptions with the letters: '3'}, red or boat: {descriptions: '2'}}
  - recipe: distinct_texts
    texts: {distinct: {file: labels.csv, layer: fc}}
    cells: {distinct: {distinct texts: '3', three most frequent (%): '100'}}
"""
    found = cells(load_table(written(tmp_path, parts, header)), folder)
    assert found.pop(("own", "other")).needs == "mpnet"
    assert {cell.verdict for cell in found.values()} == {"confirmed"}
    assert outcome(found["own", "length"]).units == 2  # unit 2 has no reference


class HalfScorer(LengthScorer):
    """Scores a pair by the share of equal characters at equal places."""

    def scores(self, metric, pairs):
        return np.array([np.mean([a == b for a, b in zip(x, y, strict=False)]) for x, y in pairs])


def test_a_filter_keeps_units_with_references_that_agree(tmp_path, folder):
    annotations = "layer,unit,summary\nfc,0,boat\nfc,0,boot\nfc,1,cat\nfc,1,dog\nfc,3,x\nfc,3,x\n"
    (folder / "annotations.csv").write_text(annotations)
    header = HEADER + "models: {clip_cosine: CLIP}\n"
    parts = """  - recipe: text_similarity
    predictions:
      own: {texts: [{file: labels.csv, layer: fc}]}
      annotations: {texts: [{file: labels.csv, layer: fc}], references: true}
    references: {texts: [{file: annotations.csv, layer: fc}]}
    agreement: {metric: clip_cosine, above: 0.7}
    metric: {similarity: clip_cosine}
    cells: {own: {similarity: null}, annotations: {similarity: null}}
"""
    found = cells(load_table(written(tmp_path, parts, header)), folder, scorer=HalfScorer())
    # Unit 0 ("Boat") only: the annotations of unit 1 differ, and labels.csv has no unit 3.
    assert outcome(found["own", "similarity"]).value == (3 / 4 + 2 / 4) / 2
    assert outcome(found["own", "similarity"]).units == 1
    assert outcome(found["annotations", "similarity"]).value == 3 / 4
    only = parts.replace("    agreement: {metric: clip_cosine, above: 0.7}\n", "")
    only = only.replace("    metric:", "    units: [{file: other.csv, layer: fc}]\n    metric:", 1)
    (folder / "other.csv").write_text("layer,unit,description\nfc,1,any\n")
    found = cells(load_table(written(tmp_path, only, header)), folder, scorer=HalfScorer())
    assert outcome(found["own", "similarity"]).units == 1


def test_a_missing_file_makes_cells_not_computable_and_is_named(tmp_path, folder):
    parts = "  - {recipe: detectors, paths: {a: x.csv}, cells: {a: {units: '1'}}}\n"
    table = load_table(written(tmp_path, parts))
    assert cells(table, folder)["a", "units"].needs == "x.csv"
    assert cells(table)["a", "units"].needs == "--published DIR"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Layer,A E1\n1,5\n", "column 'A E2' is missing"),
        (RATINGS.replace("5,1,4,2", "5,x,4,2"), "row 1, column 'B E1': 'x' is not a number"),
        (RATINGS.replace("TRUE", "maybe"), "'maybe' is neither TRUE nor FALSE"),
        (RATINGS + "1,2\n", "row 4: not as many cells as the header"),
        (RATINGS + '1,"2\n', "not valid CSV"),
        ("", "is missing, or there are no rows"),
    ],
)
def test_an_unreadable_file_is_an_error_that_names_it(tmp_path, folder, content, problem):
    (folder / "ratings.csv").write_text(content)
    parts = f"  - recipe: flag_counts\n{STUDY}    cells: {{N: {{E1: '1'}}}}\n"
    with pytest.raises(InputError) as refusal:
        cells(load_table(written(tmp_path, parts)), folder)
    assert "ratings.csv" in str(refusal.value)
    assert problem in str(refusal.value)


# --- the command --------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = main(["reproduce", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_without_a_name_the_tables_are_listed_with_what_they_need(capsys, folder):
    code, out, _ = run(capsys, "--json")
    (table,) = json.loads(out)["tables"]
    rows = {row["cells"]["table"]: row["cells"] for row in table["rows"]}
    assert (code, sorted(rows)) == (0, known_tables())
    assert rows["dnd_eurosat"]["files"] == "0 of 1"
    assert rows["dnd_poster_table1"]["computable"] == 25  # needs no file
    code, out, _ = run(capsys, "--published", folder)
    assert "dnd_scoring_study needs DnD_results/human_evals" in " ".join(out.split())


@pytest.mark.parametrize("form", ["terminal", "csv", "markdown", "latex", "svg"])
def test_a_table_is_printed_in_every_format(capsys, form):
    code, out, _ = run(capsys, "dnd_poster_table1", "--format", form)
    assert code == 0
    assert "12.71" in out
    assert "confirmed" in out


def test_json_has_the_verdicts_and_the_provenance(capsys, tmp_path, folder):
    parts = f"  - recipe: flag_counts\n{STUDY}    cells: {{N: {{E1: '2'}}}}\n"
    code, out, _ = run(capsys, written(tmp_path, parts), "--published", folder, "--json")
    (table,) = json.loads(out)["tables"]
    (row,) = table["rows"]
    assert code == 0  # also for a number that differs
    assert row["cells"] == {
        "row": "N", "column": "E1", "units": 3, "printed": "2", "recomputed": 1, "difference": -1,
        "verdict": "differs",
    }  # fmt: skip
    (file,) = table["files"]
    assert (file["path"], file["rows"], len(file["sha256"])) == ("ratings.csv", 3, 64)
    assert table["source"] == {"printed_in": "a paper", "url": "https://example.org"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["dnd_poster_table3"], "did you mean dnd_poster_table"),
        (["dnd_eurosat", "--published", "nowhere"], "nowhere: no such folder"),
        (["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(capsys, arguments, problem):
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert problem in error


def test_the_packaged_encoder_has_a_column_of_its_own(capsys, tmp_path, folder):
    header = HEADER + "models: {mpnet_cosine: all-mpnet-base-v2}\n"
    parts = """  - recipe: text_similarity
    predictions: {own: {texts: [{file: labels.csv, layer: fc}]}}
    references: {lines: lines.txt}
    metric: {mpnet cos: mpnet_cosine}
    cells: {own: {mpnet cos: '0.5'}}
  - recipe: text_similarity
    predictions: {characters: {texts: [{file: labels.csv, layer: fc}]}}
    references: {lines: lines.txt}
    characters: true
    metric: {mpnet cos: mpnet_cosine}
    cells: {characters: {mpnet cos: '0.5'}}
"""
    path = written(tmp_path, parts, header)
    code, out, _ = run(capsys, path, "--published", folder, "--encoder", "offline", "--json")
    (table,) = json.loads(out)["tables"]
    own, characters = (row["cells"] for row in table["rows"])
    assert (code, own["recomputed"]) == (0, None)
    assert own["verdict"] == "not computable: needs all-mpnet-base-v2"
    assert own["all-MiniLM-L6-v2"] > characters["all-MiniLM-L6-v2"]
    assert list(table["models"]) == ["all-MiniLM-L6-v2 for mpnet_cosine"]
    assert len(table["models"]["all-MiniLM-L6-v2 for mpnet_cosine"]) == 64


def test_a_metric_that_does_not_exist_is_an_error(capsys, tmp_path, folder):
    header = HEADER + "models: {mpnet: all-mpnet-base-v2}\n"
    path = written(
        tmp_path,
        f"{TEXTS}    references: {{lines: lines.txt}}\n    metric: {{x: mpnet}}\n{CELLS}",
        header,
    )
    code, _, error = run(capsys, path, "--published", folder)
    assert code == 2
    assert "did you mean mpnet_cosine" in error


def test_a_missing_package_of_the_offline_encoder_is_an_error(capsys, folder, monkeypatch):
    from dissectbench.harness import reproduce

    monkeypatch.setattr(reproduce, "OFFLINE", {"clip_cosine": "mpnet_cosine"})
    code, _, error = run(capsys, "dnd_blip2", "--published", folder, "--encoder", "offline")
    assert code == 2
    assert "all-mpnet-base-v2" in error


def test_a_metric_without_a_model_is_not_attributed_to_the_offline_encoder(capsys, tmp_path, folder):
    header = HEADER + "models: {synonym_accuracy: no model}\n"
    parts = f"{TEXTS}    references: {{lines: lines.txt}}\n    metric: {{x: synonym_accuracy}}\n{CELLS}"
    path = written(tmp_path, parts.replace("f.csv", "labels.csv, layer: fc"), header)
    code, out, _ = run(capsys, path, "--published", folder, "--encoder", "offline", "--json")
    (row,) = json.loads(out)["tables"][0]["rows"]
    assert (code, row["cells"]["recomputed"], row["cells"]["all-MiniLM-L6-v2"]) == (0, 0.5, None)
