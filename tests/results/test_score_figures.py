"""Charts of scores: points, series, intervals and captions."""

import json

import numpy as np
import pytest

from dissectbench.harness.cli import main
from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.records import Description, UnitId
from dissectbench.harness.run_folder import METRICS, SCORES, RunFolder, Selection
from dissectbench.harness.scores import (
    MetricInfo,
    ScoreRow,
    constant_control,
    score_frame,
    write_metrics,
    write_scores,
)
from dissectbench.results.figures import draw_scores, write_figure
from dissectbench.results.figures.writing import style
from dissectbench.results.statistics import summary

METHODS = ("clip_dissect", "describe_and_dissect")


@pytest.fixture
def make_run(tmp_path):
    """A function that makes a run with scores that depend on its name."""

    def make(name, layer="fc", methods=METHODS, cost=0.0, missing=0):
        rng = np.random.default_rng([*name.encode()])
        folder = tmp_path / "runs" / name
        with RunFolder(folder) as opened, opened.tracked():
            opened.bind({"seed": 0})
            opened.write_settings(
                "seed: 0\ntable: {resamples: 100}\n",
                Selection("net", {layer: list(range(8))}, list(methods), layer),
                "cpu",
                {},
            )
            rows = []
            for number, method in enumerate(methods):
                for unit in range(8):
                    seconds = 0.01 * 10 ** (2 * number)
                    opened.journal.append(
                        Description(
                            UnitId("net", layer, unit), method, "a car", seconds=seconds, cost_usd=cost
                        )
                    )
            for method in (*methods, constant_control("depiction")):
                for metric in ("cosine", "accuracy"):
                    for unit in range(8):
                        gone = method == methods[0] and unit < missing
                        score = np.nan if gone else float(rng.random())
                        rows.append(
                            ScoreRow(
                                *("net", layer, unit, method, method not in methods, metric, score),
                                *("failed" if gone else None, "ok", "a car", ("car",)),
                            )
                        )
            write_scores(score_frame(rows), folder / SCORES)
            write_metrics(
                {"cosine": MetricInfo(), "accuracy": MetricInfo(percent=True)}, folder / METRICS
            )
            opened.finish(failed_units=0)
        return FinishedRun(folder)

    return make


def draw(kind, runs, **settings):
    with style():
        return draw_scores(kind, runs, **settings)


def legend(drawn):
    return [text.get_text() for text in drawn.figure.legends[0].get_texts()]


def test_points_are_the_means_and_intervals_of_the_statistics(make_run):
    run = make_run("one", missing=2)
    points = draw("layers", [run]).content["points"]
    assert len(points) == 2 * 3
    for point in points:
        rows = run.scores[(run.scores.metric == point["metric"]) & (run.scores.method == point["method"])]
        expected = summary(rows.score, seed=0, n_resamples=100)
        assert (point["mean"], point["low"], point["high"]) == (
            expected.mean,
            expected.low,
            expected.high,
        )
        assert (point["n"], point["n_missing"]) == (expected.n, expected.n_missing)


def test_runs_of_different_layers_are_parts_of_one_series(make_run):
    drawn = draw("layers", [make_run("a", "layer1"), make_run("b", "layer4"), make_run("c", "fc")])
    assert legend(drawn) == ["CLIP-Dissect", "DnD", "constant: depiction"]
    assert [axes.get_title() for axes in drawn.figure.axes] == ["cosine", "accuracy (%)"]
    for axes in drawn.figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["layer1", "layer4", "fc"]
        assert [len(container[0].get_xdata()) for container in axes.containers] == [3, 3, 3]


def test_runs_of_the_same_layer_are_series_of_their_own(make_run):
    runs = [make_run("whole", methods=METHODS[1:]), make_run("no_crops", methods=METHODS[1:])]
    drawn = draw("ablation", runs, metrics=["cosine"])
    [axes] = drawn.figure.axes
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels == ["whole", "no_crops", "whole: constant: depiction", "no_crops: constant: depiction"]
    # In the given order, from the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert legend(draw("layers", [make_run("a"), make_run("b")]))[:2] == ["a: CLIP-Dissect", "a: DnD"]


def test_percent_metrics_are_drawn_in_percent(make_run):
    drawn = draw("layers", [make_run("one")], metrics=["accuracy"], methods=["clip_dissect"])
    [axes] = drawn.figure.axes
    [point] = [p for p in drawn.content["points"] if not p["control"]]
    assert axes.containers[0][0].get_ydata().tolist() == [pytest.approx(100 * point["mean"])]


def test_scores_against_seconds_and_dollars(make_run):
    free, paid = draw("cost", [make_run("free")]), draw("cost", [make_run("paid", cost=0.25)])
    assert [axes.get_xlabel() for axes in free.figure.axes] == ["seconds per unit"] * 2
    assert [axes.get_xlabel() for axes in paid.figure.axes] == [
        "seconds per unit",
        "US dollars per unit",
    ] * 2
    seconds = {point["method"]: point["seconds"] for point in free.content["points"]}
    assert seconds == {"clip_dissect": pytest.approx(0.01), "describe_and_dissect": pytest.approx(1.0)}
    # A hundredfold range, on a logarithmic axis without formulas.
    axes = free.figure.axes[0]
    assert axes.get_xscale() == "log"
    free.figure.draw_without_rendering()
    assert not any("$" in label.get_text() for label in axes.get_xticklabels())
    assert legend(free) == ["CLIP-Dissect", "DnD"]


def test_the_caption_says_how_many_units_and_which_controls(make_run):
    caption = draw("layers", [make_run("one", missing=3)]).caption
    assert "5 of 8 (one, fc, CLIP-Dissect)" in caption
    assert "8 of 8 (one, fc, DnD)" in caption
    assert "95 % bootstrap intervals over units (100 resamples)" in caption
    assert "Grey: controls" in caption
    assert "Each mean is over 8 of 8 units." in draw("cost", [make_run("two")]).caption


@pytest.mark.parametrize("kind", ["layers", "ablation", "cost"])
@pytest.mark.parametrize("columns", ["one", "two"])
def test_texts_are_inside_the_figure_and_panels_do_not_overlap(make_run, kind, columns):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    methods = [f"a_method_with_the_long_name_{number}" for number in range(10)]
    runs = [
        make_run("a", methods=methods),
        make_run("a run, and $its_name$ is long", methods=methods[:2]),
    ]
    with style():
        figure = draw_scores(kind, runs, columns=columns).figure
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.canvas.draw()
        boxes = [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
        boxes += [box.get_window_extent(renderer) for box in figure.legends]
        page = figure.bbox
    for number, box in enumerate(boxes):
        assert box.x0 >= page.x0 - 1, kind
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
        for other in boxes[:number]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or down <= 1


@pytest.mark.parametrize("kind", ["layers", "ablation", "cost"])
@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_equal_input_gives_equal_bytes(make_run, tmp_path, kind, suffix):
    runs = [make_run("one")]
    paths = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for path in paths:
        write_figure(lambda: draw_scores(kind, runs), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert "Mean score" in paths[0].with_suffix(".txt").read_text()


def test_the_command_prints_what_was_drawn(make_run, capfd, tmp_path):
    run = make_run("one")
    out = tmp_path / "scores.svg"
    assert main(["figure", str(run.path), "--kind", "cost", "--out", str(out), "--json"]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    content = json.loads(printed.out)
    assert content["kind"] == "cost"
    assert len(content["points"]) == 4
    assert main(["figure", str(run.path), "--kind", "layers"]) == 0
    assert (run.path / "figures" / "layers.pdf").exists()


def test_what_cannot_be_drawn_is_a_sentence(make_run):
    run = make_run("one")
    with pytest.raises(InputError, match="--metric is 'cosin'"):
        draw("layers", [run], metrics=["cosin"])
    with pytest.raises(InputError, match="a run is given twice"):
        draw("layers", [run, run])
    (run.path / SCORES).unlink()
    with pytest.raises(InputError, match="has no scores"):
        draw("layers", [FinishedRun(run.path)])
    scores_only = make_run("two")
    (scores_only.path / "spent.jsonl").unlink()
    with pytest.raises(InputError, match="no run has both scores and times"):
        draw("cost", [FinishedRun(scores_only.path)])
