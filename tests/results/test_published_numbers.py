"""Numbers recomputed from the authors' files equal those of an independent computation."""

import csv
from collections import Counter
from fractions import Fraction

import pytest

from dissectbench.results.reproduce import PublishedFiles, known_tables, load_table, reproduce_table


class NoModels:
    """No model is available."""

    def available(self, metric):
        return False

    def model(self, metric):
        raise AssertionError(f"the model of {metric} is not available")

    def identity(self, metric):
        return self.model(metric)

    def scores(self, metric, pairs):
        return self.model(metric)


@pytest.fixture(scope="module")
def cells(shared):
    """Recomputes a table; its cells by (row, column). A table is computed once."""
    done = {}

    def of(name):
        if name not in done:
            result = reproduce_table(load_table(name), PublishedFiles([shared / "published"]), NoModels())
            done[name] = {(cell.row, cell.column): cell for cell in result.cells}
        return done[name]

    return of


@pytest.mark.parametrize("name", known_tables())
def test_only_errors_of_the_printed_tables_differ(cells, name):
    differing = {cell for cell, result in cells(name).items() if result.verdict == "differs"}
    if name != "dnd_milannotations":
        assert differing == set()
        return
    assert differing == {
        ("annotations, from the printed layers", "BERTScore"),
        ("annotations, layer 4, corrected", "BERTScore"),
        ("annotations, all layers, corrected", "BERTScore"),
    }


def values(cells, name, *keys):
    return [float(cells(name)[key].outcome.value) for key in keys]


METHODS = ("Network Dissection", "MILAN", "CLIP-Dissect", "DnD")


def test_rows_of_all_layers_are_unweighted_means(cells):
    rated = [("rating, all layers", method) for method in METHODS]
    assert values(cells, "dnd_poster_table1", *rated) == [3.14, 3.2075, 3.665, 4.145]
    best = [("best (%), all layers", method) for method in METHODS]
    assert values(cells, "dnd_poster_table1", *best) == [12.7075, 13.2925, 23.1125, 50.885]
    for key in (*rated, *best):
        assert cells("dnd_poster_table1")[key].verdict == "confirmed"


def test_percentages_admit_few_denominators(cells):
    rows = [f"best (%), layer {layer}" for layer in (1, 2, 3, 4)]
    largest = values(cells, "dnd_poster_table1", *((row, "largest denominator") for row in rows))
    counts = values(cells, "dnd_poster_table1", *((row, "denominators") for row in rows))
    assert (largest, counts) == ([440, 419, 440, 445], [1, 1, 2, 1])
    note = cells("dnd_poster_table1")["best (%), layer 1", "denominators"].outcome.note
    assert "440 (58, 63, 99, 220)" in note
    ratios = values(cells, "dnd_poster_table1", *((row, "DnD / best baseline") for row in rows))
    assert ratios == pytest.approx([2.22, 2.74, 2.02, 1.96], abs=0.005)


FUNCTIONS = ("Mean", "TopK Squared", "Image Products", "TopK Squared + Image Products")


@pytest.mark.parametrize(
    ("row", "expected", "digits", "judgements"),
    [
        ("mean", (2.6050, 2.6225, 3.0275, 2.8525), 4, 400),
        ("standard deviation", (1.440, 1.473, 1.390, 1.477), 3, 400),
        ("standard error", (0.072, 0.074, 0.069, 0.074), 3, 400),
        ("mean, E1", (2.705, 2.710, 3.095, 2.970), 3, 200),
        ("mean, E2", (2.505, 2.535, 2.960, 2.735), 3, 200),
        ("mean, layer 4", (2.24, 2.29, 2.68, 2.42), 2, 100),
        ('mean, without "None"', (2.912, 2.925, 3.430, 3.199), 3, 307),
        ('mean, without "Uninterpretable"', (2.642, 2.661, 3.096, 2.904), 3, 363),
        ("mean, without both flags", (2.993, 3.011, 3.547, 3.312), 3, 276),
        ("highest rating, ties counted fully (%)", (57.25, 56.75, 69.75, 64.00), 2, 400),
        ("highest rating, ties split (%)", (19.56, 17.31, 40.06, 23.06), 2, 400),
        ("highest rating, no tie (%)", (9.79, 0.70, 76.92, 12.59), 2, 400),
    ],
)
def test_the_scoring_study_is_met(cells, row, expected, digits, judgements):
    keys = [(row, function) for function in FUNCTIONS]
    half = 0.5 * 10**-digits * 1.001
    assert values(cells, "dnd_scoring_study", *keys) == pytest.approx(expected, abs=half)
    assert {cells("dnd_scoring_study")[key].outcome.units for key in keys} == {judgements}


def test_differences_of_the_scoring_study(cells):
    columns = ("difference", "wins", "ties", "losses", "same label")
    row = "IP - TopK+IP"
    assert values(cells, "dnd_scoring_study", *((row, c) for c in columns)) == [0.175, 73, 68, 59, 44]
    same = [
        ("TopK+IP - TopK", "same label"),
        ("TopK+IP - Mean", "same label"),
        ("TopK - Mean", "same label"),
    ]
    assert values(cells, "dnd_scoring_study", *same) == [159, 123, 162]


def test_p_values_of_the_scoring_study_equal_a_count_of_all_sign_patterns(cells, shared):
    folder = shared / "published" / "DnD_results" / "human_evals"
    with (folder / "RN50_table_4_scoring_function.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    columns = {
        "IP": "Image-Products",
        "TopK+IP": "Topk-Compare",
        "TopK": "Topk-Sq",
        "Mean": "Mean Caption",
    }
    for pair in ("IP - TopK+IP", "TopK+IP - TopK", "TopK+IP - Mean", "IP - TopK", "TopK - Mean"):
        first, second = (columns[name] for name in pair.split(" - "))
        sums = [
            sum(int(r[f"{first} {e} Rating"]) - int(r[f"{second} {e} Rating"]) for e in ("E1", "E2"))
            for r in records
        ]
        patterns = Counter({0: 1})  # number of sign patterns by their sum, as exact integers
        for size in sums:
            patterns = sum(
                (Counter({s + sign * size: n for s, n in patterns.items()}) for sign in (1, -1)),
                Counter(),
            )
        extreme = sum(n for s, n in patterns.items() if abs(s) >= abs(sum(sums)))
        expected = float(Fraction(extreme, 2 ** len(sums)))
        assert values(cells, "dnd_scoring_study", (pair, "p")) == pytest.approx([expected], rel=1e-9)


def test_agreement_and_flags_of_the_scoring_study(cells):
    keys = [("all", c) for c in ("Pearson", "Spearman", "weighted kappa", "equal (%)", "within one (%)")]
    assert values(cells, "dnd_scoring_study", *keys) == pytest.approx(
        [0.616, 0.621, 0.611, 41.75, 77.125], abs=5e-4
    )
    flags = [(flag, c) for flag in ("None", "Uninterpretable") for c in ("E1", "E2", "both")]
    assert values(cells, "dnd_scoring_study", *flags) == [57, 36, 23, 20, 17, 3]


def test_the_corrected_annotation_row_is_in_its_interval(cells):
    table = cells("dnd_milannotations")
    intervals = {"all layers": (0.84706, 0.84708), "layer 4": (0.85130, 0.85148)}
    for layers, (low, high) in intervals.items():
        outcome = table[f"annotations, {layers}, corrected", "BERTScore"].outcome
        # The intervals are rounded to five digits.
        assert float(outcome.value - outcome.margin) >= low - 5e-6
        assert float(outcome.value + outcome.margin) <= high + 1.5e-5
    assert table["annotations, layers 3 and 4 twice", "BERTScore"].verdict == "confirmed"


def test_labels_of_eurosat_are_counted(cells):
    keys = [("fishing", "occurrences"), ("fishing", "descriptions"), ("purple or pink", "descriptions")]
    keys += [("purple", "descriptions"), ("pink", "descriptions")]
    assert values(cells, "dnd_eurosat", *keys) == [883, 853, 609, 543, 406]


def test_blip_and_blip2_give_few_equal_labels(cells):
    keys = [(f"layer {layer}", "equal texts") for layer in (1, 2, 3, 4)]
    assert values(cells, "dnd_blip2", *keys) == [1, 3, 3, 3]


def test_class_names_match_under_four_rules(cells):
    rules = ("", ", scenes only", ", separators unified", ", separators unified, scenes only")
    keys = [(f"Network Dissection{rule}", "matches") for rule in rules]
    assert values(cells, "clip_dissect_places", *keys) == [117, 116, 141, 140]


@pytest.mark.parametrize(
    ("row", "counts", "mean"),
    [
        ("ResNet-18 (Places365), fc", (365, 364, 195, 300, 0, 68, 12, 2, 186, 32), 0.1895),
        ("ResNet-18 (Places365), layer1", (64, 6, 4, 6, 2, 1, 0, 0, 0, 3), 0.0231),
        ("ResNet-18 (Places365), layer4", (512, 434, 187, 265, 1, 67, 20, 4, 143, 30), 0.0742),
        ("ResNet-50 (ImageNet), fc", (1000, 983, 222, 339, 0, 67, 9, 2, 217, 44), 0.1287),
        ("ResNet-50 (ImageNet), layer1", (256, 61, 20, 27, 8, 2, 0, 1, 2, 14), 0.0301),
        ("ResNet-50 (ImageNet), layer2", (512, 62, 19, 21, 4, 1, 1, 0, 1, 14), 0.0202),
        ("ResNet-50 (ImageNet), layer3", (1024, 276, 76, 93, 5, 23, 22, 4, 5, 34), 0.0352),
        ("ResNet-50 (ImageNet), layer4", (2048, 1355, 186, 227, 3, 68, 28, 9, 75, 44), 0.0606),
    ],
)
def test_detectors_per_file(cells, row, counts, mean):
    columns = ("units", "detectors", "unique, best label only", "unique")
    columns += ("color", "object", "part", "material", "scene", "texture")
    assert values(cells, "netdissect_detectors", *((row, column) for column in columns)) == list(counts)
    assert values(cells, "netdissect_detectors", (row, "mean IoU")) == pytest.approx([mean], abs=5e-5)


def test_checks_of_the_files_of_cosy(cells):
    rows = [
        (f"FALCON, layer{layer}", column) for layer in (4, 3, 2) for column in ("right pairs", "pairs")
    ]
    assert values(cells, "cosy_resnet18", *rows) == [3, 50, 0, 15, 1, 12]
    matches = [("INVERT, fc", "matches (%)"), ("CLIP-Dissect, fc", "matches (%)")]
    assert values(cells, "cosy_resnet18", *matches) == pytest.approx([90.9, 72.1])
    equal = [(f"{m}, avgpool and layer4", "equal texts") for m in ("INVERT", "CLIP-Dissect", "MILAN")]
    assert values(cells, "cosy_resnet18", *equal) == [512, 512, 112]
    assert values(cells, "cosy_resnet18", ("MILAN, ViT-B/16", "distinct texts")) == [43]


def test_simulation_correlations_are_confirmed(cells):
    printed = [cell for cell in cells("linear_explanations").values() if cell.printed and cell.outcome]
    assert len(printed) == 8
    assert {cell.verdict for cell in printed} == {"confirmed"}
