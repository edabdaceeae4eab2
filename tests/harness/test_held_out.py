"""Metrics on activations score every layer of a run, on images that its methods have not seen."""

import numpy as np
import pytest

from dissectbench.datasets.probing_set import Subset
from dissectbench.harness import compose, run
from dissectbench.harness.errors import InputError
from dissectbench.harness.parts import assemble
from dissectbench.harness.score_files import score_files
from dissectbench.results.leaderboard import bundle_of_run

SMALL = (
    *("name=held", "units=4", "layers=[layer4,fc]", "method=[network_dissection]", "probe.images=80"),
    *("metric=[annotation_correlation,simulation_correlation]", "report=false"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield run(compose([*SMALL, "held_out=0.5"]), runs=tmp_path_factory.mktemp("runs"))


def test_every_layer_has_scores_and_controls(finished):
    scores = finished.scores
    assert set(scores["layer"]) == {"layer4", "fc"}
    assert set(scores["metric"]) == {"annotation_correlation", "simulation_correlation"}
    assert len(scores) == 2 * 4 * 3 * 2  # layers, units, method and two controls, metrics
    assert scores.loc[~scores["control"], "score"].notna().any()
    assert finished.models["probing set"] == "tinyworld, 40 images"
    assert finished.models["held-out images"] == "40 images"


def test_such_a_run_can_be_submitted_without_the_scores_of_hidden_layers(finished):
    bundle = bundle_of_run(finished)
    assert {row.layer for row in bundle.descriptions} == {"layer4", "fc"}
    assert not bundle.scores


def test_another_share_is_refused_in_the_same_folder(finished):
    with pytest.raises(InputError, match="held_out"):
        run(compose([*SMALL, "held_out=0.25"]), runs=finished.path.parent)


def test_methods_see_no_held_out_image():
    parts = assemble(compose([*SMALL, "probe.split=0.5"]))
    assert isinstance(parts.probe, Subset)
    assert isinstance(parts.held_out, Subset)
    both = [*parts.probe.indices, *parts.held_out.indices]
    np.testing.assert_array_equal(np.sort(both), np.arange(80))


def test_metrics_on_activations_ask_for_held_out_images():
    with pytest.raises(InputError, match="held_out is null"):
        assemble(compose(SMALL))
    same = assemble(compose([*SMALL, "held_out=0"]))
    assert same.held_out is same.probe


def test_files_have_no_activations_to_score_on(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("layer,unit,description\nfc,0,a dog\n", encoding="utf-8")
    settings = compose(
        ["metric=[simulation_correlation]", "encoder=tinyworld", "references=tinyworld"], root="score"
    )
    with pytest.raises(InputError, match="needs the activations"):
        score_files([file], settings, layer="fc")
