"""Every mistake in the input of `study design` is a sentence with the option and what to do."""

import json
import shutil
from dataclasses import replace

import pytest
from run_folders import write_run
from study_runs import small_run

from dissectbench.harness import InputError
from dissectbench.harness.cli import main
from dissectbench.harness.records import Description, UnitId
from dissectbench.harness.studies.frame import open_frame
from dissectbench.results.studies import Study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def fails(run, tmp_path, capsys):
    def call(*options, out="study", sources=None):
        sources = [run.path] if sources is None else sources
        code = main(["study", "design", *map(str, sources), "--out", str(tmp_path / out), *options])
        assert code == 2
        assert not (tmp_path / out / "study.yaml").exists()
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    return call


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--units", "fc:99"], "no description of unit 99"),
        (["--units", "nope:1"], "no layer 'nope'"),
        (["--units", "-3"], "--units=-3"),
        (["--units", ","], "--units names nothing"),
        (["--per-layer", "0"], "--per-layer=0"),
        (["--layer", "layer9"], "--layer is 'layer9'"),
        (["--methods", "milan"], "--methods is 'milan'"),
        (["--methods", ","], "--methods names nothing"),
        (["--raters", "-1"], "--raters=-1"),
        (["--raters", "0"], "--raters=0"),
        (["--images", "0"], "--images=0"),
        (["--image-size", "5000"], "--image-size 5000"),
        (["--attention", "-1"], "--attention=-1"),
        (["--attention", "99"], "--attention 99: the run has 16 units"),
        (["--gold-tasks", "-1"], "--gold-tasks=-1"),
        (["--gold-tasks", "99"], "--gold-tasks 99: only"),
        (["--gold", "missing.csv"], "cannot read missing.csv"),
        (["--repeat", "0.8"], "--repeat 0.8"),
        (["--repeat", "nan"], "--repeat nan"),
        (["--reward", "-0.1"], "--reward=-0.1"),
        (["--reward", "inf"], "--reward inf"),
        (["--seconds", "nan"], "--seconds=nan"),
        (["--fee", "-1"], "--fee=-1"),
        (["--seed", "-1"], "--seed=-1"),
        (["--title", " "], "--title is empty"),
        (["--instructions", "missing.md"], "--instructions missing.md: cannot be read"),
    ],
)
def test_a_mistake_names_its_option(fails, options, message):
    assert message in fails(*options)


def test_a_folder_with_something_else_is_not_touched(fails, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.txt").write_text("precious")
    assert "exists and holds something else" in fails("--per-layer", "1")
    assert (tmp_path / "study" / "thesis.txt").read_text() == "precious"


def test_another_design_is_not_written_over_a_study(run, tmp_path, capsys):
    arguments = ["study", "design", str(run.path), "--out", str(tmp_path / "study"), "--per-layer"]
    assert main([*arguments, "1"]) == 0
    first = Study(tmp_path / "study").design
    assert main([*arguments, "2"]) == 2
    assert "a design is frozen" in capsys.readouterr().err
    assert Study(tmp_path / "study").design == first


def test_a_study_needs_a_run_with_its_images(fails, run, tmp_path):
    csv = tmp_path / "labels.csv"
    csv.write_text("layer,unit,method,description,status,score\nfc,1,mine,a bird,ok,\n")
    assert "no run is given" in fails(sources=[csv])
    assert "not the folder of a run" in fails(sources=[tmp_path / "nothing"])
    # A run without its activations.
    lonely = shutil.copytree(run.path, tmp_path / "lonely" / "small")
    assert "activations" in fails(sources=[lonely])
    status = json.loads((lonely / "status.json").read_text())
    (lonely / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    assert "was interrupted" in fails(sources=[lonely])


def test_a_run_of_another_target_is_refused(fails, run, tmp_path):
    other = write_run(tmp_path / "other", [Description(UnitId("net", "fc", 1), "mine", "a bird")])
    assert "runs of different targets" in fails(sources=[run.path, other.path])


def test_descriptions_of_files_join_those_of_the_run(run, tmp_path):
    csv = tmp_path / "labels.csv"
    units = [unit for unit in dict.fromkeys(r.unit for r in run.records) if unit.layer == "fc"]
    rows = "".join(f"fc,{unit.index},mine,thing {unit.index},ok,\n" for unit in units)
    csv.write_text(f"layer,unit,method,description,status,score\n{rows}")
    frame = open_frame([run.path, csv]).frame
    assert frame.methods == ("network_dissection", "clip_dissect", "mine")
    assert all(frame.texts[unit]["mine"] == f"thing {unit.index}" for unit in units)
    assert all(frame.missing(unit) == ["mine"] for unit in frame.texts if unit.layer == "layer4")
    chosen = open_frame([run.path, csv], methods=["mine", "clip_dissect"]).frame
    assert chosen.methods == ("mine", "clip_dissect")
    csv.write_text("layer,unit,method,description,status,score\nconv9,1,mine,x,ok,\n")
    with pytest.raises(InputError, match=r"labels.csv describes units of conv9"):
        open_frame([run.path, csv])
    csv.write_text("layer,unit,method,description,status,score\nfc,4000,mine,x,ok,\n")
    with pytest.raises(InputError, match="layer fc has no unit 4000"):
        open_frame([run.path, csv])


def test_methods_of_two_runs_with_one_name_are_told_apart(run, tmp_path):
    runs = shutil.copytree(run.path.parent, tmp_path / "runs", symlinks=True)
    shutil.copytree(runs / "small", runs / "again")
    frame = open_frame([runs / "small", runs / "again"], methods=["small/clip_dissect"]).frame
    assert frame.methods == ("small/clip_dissect",)
    with pytest.raises(InputError, match="again/clip_dissect"):
        open_frame([runs / "small", runs / "again"], methods=["clip_dissect"])
    with pytest.raises(InputError, match="give each run and file once"):
        open_frame([runs / "small", runs / "small"])


def test_below_threshold_the_best_candidate_or_nothing_is_shown(run):
    weak = [record for record in run.records if record.status == "below_threshold"]
    assert weak
    shown = open_frame([run.path]).frame
    left_out = open_frame([run.path], below_threshold="leave-out").frame
    for record in weak:
        assert shown.texts[record.unit][record.method] == record.candidates[0].text
        assert left_out.missing(record.unit) == [record.method]


def test_dead_units_are_never_shown(run, tmp_path):
    runs = shutil.copytree(run.path.parent, tmp_path / "runs", symlinks=True)
    path = runs / "small" / "descriptions.jsonl"
    records = [Description.from_json(line) for line in path.read_text().splitlines()]
    dead = records[0].unit
    changed = [
        replace(r, text=None, status="dead", candidates=()) if r.unit == dead else r for r in records
    ]
    path.write_text("".join(record.to_json() + "\n" for record in changed))
    frame = open_frame([runs / "small"]).frame
    assert frame.dead == (dead,)
    assert dead not in frame.texts
