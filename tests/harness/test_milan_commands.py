"""Tests the commands `dissectbench milan` and `score` with MILANNOTATIONS, as a user runs them."""

import csv
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from dissectbench.datasets.milannotations import read_annotations
from dissectbench.harness.cli import main
from dissectbench.methods.milan.checkpoint_files import load_checkpoint
from dissectbench.methods.milan.exemplar_files import read_exemplars

SIZE, COUNT = 32, 3
SMALL = [
    "training.embedding=8",
    "training.hidden=16",
    "training.attention=16",
    "training.language_model.hidden=16",
    "training.fit_decoder.epochs=2",
    "training.fit_language_model.epochs=2",
]


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write_layer(folder, n, *, images=True):
    rng = np.random.default_rng(n)
    folder.mkdir(parents=True)
    np.save(folder / "masks.npy", rng.integers(0, 2, (n, COUNT, 1, SIZE, SIZE), np.uint8))
    if images:
        np.save(folder / "images.npy", rng.integers(0, 256, (n, COUNT, 3, SIZE, SIZE), np.uint8))
    np.savetxt(folder / "ids.csv", rng.integers(0, 4, (n, COUNT)), fmt="%d", delimiter=",")


def write_data(folder, *, images=True):
    write_layer(folder / "conv1", 8, images=images)
    with (folder / "annotations.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["layer", "unit", "summary"])
        rows.writerows(["conv1", unit, f"{['red', 'green'][unit % 2]} things"] for unit in range(8))
    return folder


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "alexnet-places")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
        torch.save(resnet18().state_dict(), path)
    return path


def train(capsys, data, out, *more):
    return run(capsys, "milan", "train", data, "--out", out, "per_unit=1", "device=cpu", *SMALL, *more)


def named(weights):
    return "--encoder", "resnet18", "--weights", weights


def test_a_published_checkpoint_is_converted_next_to_it(shared, capsys, tmp_path):
    original = shared / "golden" / "milan" / "milan_small_no_encoder.pth"
    shutil.copy(original, tmp_path / "milan-base.pth")
    for _ in range(2):  # converting again is allowed
        code, out, _ = run(capsys, "milan", "convert", tmp_path / "milan-base.pth")
        assert code == 0
        assert "64 words over resnet18 (not in the checkpoint)" in out
        assert f"method.milan.checkpoint={tmp_path / 'milan-base'}" in out
        assert "method.milan.encoder=MODULE:FUNCTION" in out
        assert "MODULE:FUNCTION returns resnet18 with the weights" in out
    converted, expected = load_checkpoint(tmp_path / "milan-base"), load_checkpoint(original)
    assert converted.official
    assert converted.decoding == expected.decoding
    assert all(torch.equal(converted.state[name], tensor) for name, tensor in expected.state.items())
    code, _, _ = run(capsys, "milan", "convert", original, "--out", tmp_path / "else" / "where")
    assert code == 0
    assert (tmp_path / "else" / "where" / "config.json").is_file()


def test_other_files_and_folders_are_not_converted(capsys, tmp_path, weights):
    (tmp_path / "text.pth").write_text("404")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:100_000])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    shutil.copy(weights, tmp_path / "bare")
    for arguments, message in (
        ([tmp_path / "nowhere.pth"], "no such checkpoint"),
        ([tmp_path / "text.pth"], "zip"),
        ([tmp_path / "cut.pth"], "cut.pth"),
        ([weights], "is not a MILAN"),
        ([tmp_path / "full"], "is a folder"),
        ([weights, "--out", tmp_path / "full"], "already exists"),
        ([tmp_path / "bare"], "give another folder: --out DIR"),
    ):
        code, _, error = run(capsys, "milan", "convert", *arguments)
        assert code == 2
        assert message in error
        assert "Traceback" not in error
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["notes.txt"]


def test_training_is_done_once_and_the_checkpoint_contains_the_encoder(capsys, data, tmp_path, weights):
    code, out, error = train(capsys, data, tmp_path / "mine", *named(weights))
    assert code == 0
    assert "trained on 7 units, 1 held out" in out
    assert "method.milan.checkpoint=" in out
    assert "training the decoder" in error
    trained = load_checkpoint(tmp_path / "mine")
    assert trained.has_encoder
    assert set(trained.vocabulary.tokens) == {"red", "green", "things"}
    assert trained.exemplars == {"count": COUNT, "quantile": 0.01, "image_size": SIZE}
    before = (tmp_path / "mine" / "model.safetensors").stat().st_mtime_ns
    code, again, error = train(capsys, data, tmp_path / "mine", *named(weights))
    assert (code, again) == (0, out)
    assert "training the" not in error
    assert (tmp_path / "mine" / "model.safetensors").stat().st_mtime_ns == before
    code, _, error = train(capsys, data, tmp_path / "mine", *named(weights), "training.seed=1")
    assert code == 2
    assert "other data or settings" in error


def test_an_archive_is_unpacked_in_the_output_folder_and_removed(capsys, data, tmp_path, weights):
    def files(folder):
        return sorted(path.name for path in folder.iterdir())

    (tmp_path / "data").mkdir()
    archive = shutil.make_archive(str(tmp_path / "data" / data.name), "zip", data)
    (tmp_path / "mine" / ".unpacked" / "0").mkdir(parents=True)  # as a killed process leaves it
    code, out, _ = train(capsys, archive, tmp_path / "mine", *named(weights))
    assert code == 0
    assert files(tmp_path / "data") == ["alexnet-places.zip"]
    assert ".unpacked" not in files(tmp_path / "mine")
    before = (tmp_path / "mine" / "model.safetensors").stat().st_mtime_ns
    code, again, _ = train(capsys, archive, tmp_path / "mine", *named(weights))
    assert (code, again) == (0, out)
    assert (tmp_path / "mine" / "model.safetensors").stat().st_mtime_ns == before
    code, _, error = train(capsys, archive, tmp_path / "none", "--encoder", "vgg16")
    assert code == 2
    assert "vgg16" in error
    assert not (tmp_path / "none").exists()


NETWORK = """
import torch
from torchvision.models.resnet import BasicBlock, ResNet

def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(BasicBlock, [1, 1, 1, 1]), lambda image: torch.zeros(3, 32, 32)
"""


def test_a_checkpoint_names_the_function_of_its_encoder(capsys, data, tmp_path, monkeypatch):
    (tmp_path / "network_for_milan_test.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    function = ("--encoder", "network_for_milan_test:make")
    code, out, _ = train(capsys, data, tmp_path / "mine", *function)
    assert code == 0
    assert "method.milan.encoder=network_for_milan_test:make" in out
    assert not load_checkpoint(tmp_path / "mine").has_encoder
    code, _, error = train(capsys, data, tmp_path / "other", *function, "--weights", "x.pth")
    assert code == 2
    assert "--weights cannot be used with a function" in error


@pytest.mark.slow
def test_an_interrupted_training_resumes(data, tmp_path, weights):
    command = [sys.executable, "-m", "dissectbench.harness", "milan", "train", str(data)]
    command += [*SMALL, "training.fit_decoder.epochs=60", "training.fit_decoder.patience=60"]
    command += ["per_unit=1", "device=cpu", "--out", str(tmp_path / "mine"), *map(str, named(weights))]
    state = tmp_path / "mine" / "decoder.pt"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not state.exists():
            assert process.poll() is None
        process.kill()
    done = len(torch.load(state, weights_only=True)["history"])
    assert 0 < done < 60
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "(best of 60 epochs)" in finished.stdout
    assert len(json.loads((tmp_path / "mine" / "training.json").read_text())["decoder"]) == 60


def test_invalid_data_is_an_error_message_and_exit_code_2(capsys, data, tmp_path, weights):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for file in sorted(data.rglob("*")):
            archive.write(file, file.relative_to(data))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:20_000])
    without = write_data(tmp_path / "alexnet-imagenet", images=False)
    few = tmp_path / "val"
    (few / "class").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(few / "class" / "0.png")
    for arguments, message in (
        ([tmp_path / "nowhere.zip"], "no such file or folder"),
        ([tmp_path / "cut.zip"], "truncated"),
        ([weights], "is not a data set"),
        ([without], "contains no images.npy"),
        ([without, "--images", tmp_path / "nowhere"], "nowhere"),
        ([without, "--images", few], "has 1 images"),
        ([data, "per_unit=9"], "no unit has 9 annotations"),
        ([data, "layers=[conv9]"], "no layer 'conv9'"),
        ([data, "--encoder", "vgg16"], "cannot be built over 'vgg16'"),
        ([data, "--encoder", "resnet50", "--weights", weights], "does not fit the network"),
        ([data, "training.hiden=3"], "did you mean hidden"),
        ([data, "training.hidden=many"], "training.hidden=many is not a number"),
        ([data, "training.hidden=0"], "must be positive"),
        ([data, "training.fit_decoder.learning_rate=-1"], "must be positive"),
        ([data, "training.hold_out=2"], "hold_out=2"),
        (["training.seed=1"], "no data set given"),
    ):
        usual = () if "--encoder" in arguments else named(weights)
        usual += () if "per_unit=9" in arguments else ("per_unit=1",)
        code, _, error = run(capsys, "milan", "train", "--out", tmp_path / "out", *usual, *arguments)
        assert code == 2, message
        assert message in error
        assert "Traceback" not in error


def test_exemplars_are_written_in_the_published_layout(capsys, tmp_path, monkeypatch):
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    command = ["milan", "exemplars", "target=tinyworld", "probe=flat", "probe.root=photos"]
    command += ["layers=[layer1,fc]", "device=cpu", "--out", "exemplars"]
    command += ["--exemplars", COUNT, "--image-size", SIZE]
    for _ in range(2):  # existing exemplars are not written again
        code, out, _ = run(capsys, *command, "units=3")
        assert code == 0
        assert f"layer1: 3 units with {COUNT} exemplars" in out
    exemplars = read_exemplars("exemplars/layer1")
    assert exemplars.masks.shape == (3, COUNT, 1, SIZE, SIZE)
    assert exemplars.units.tolist() == sorted(exemplars.units.tolist())
    code, _, error = run(capsys, *command, "units=[1,2]")
    assert code == 2
    assert "contains other exemplars" in error
    (tmp_path / "exemplars" / "annotations.csv").write_text("layer,unit,summary\nfc,0,boats\n")
    assert read_annotations("exemplars").texts == {"fc": {0: ("boats",)}}
    code, _, error = run(capsys, *command, "layers=[layer7]")
    assert code == 2
    assert "no layer named 'layer7'" in error
    code, _, error = run(capsys, *command, "units=3", "--quantile", "0.5", "--out", "wide")
    assert code == 2
    assert "layer layer1: masks with quantile=0.5" in error
    assert "set activations.quantile_tail=0.5" in error


def test_help_imports_no_heavy_library():
    code = (
        "import sys\nfrom dissectbench.harness.cli import main\n"
        "try:\n    main(['milan', 'train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'hydra', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_descriptions_are_scored_against_several_annotations_per_unit(capsys, tmp_path):
    (tmp_path / "milan.csv").write_text("layer,unit,description\nconv1,0,red things\nconv1,1,sky\n")
    (tmp_path / "annotations.csv").write_text(
        "layer,unit,summary\nconv1,0,red things\nconv1,0,apples\nconv1,1,sky\nconv1,1,a sky\nfc,0,a\n"
    )
    command = ["score", tmp_path / "milan.csv", "--layer", "conv1", "metric=[exact_accuracy]"]
    command += ["--references", f"milannotations:{tmp_path}", "table.resamples=50"]
    for reduction, columns, means in (
        ("best", ["exact_accuracy"], [1.0]),
        ("mean", ["exact_accuracy_mean"], [0.5]),
        ("both", ["exact_accuracy", "exact_accuracy_mean"], [1.0, 0.5]),
    ):
        out = tmp_path / reduction
        code, printed, _ = run(capsys, *command, "--reduce", reduction, "--out", out)
        assert code == 0
        assert "up to 2 texts per unit" in printed
        table = pd.read_parquet(out / "scores.parquet").query("method == 'milan'")
        assert table.groupby("metric", sort=False).score.mean().to_dict() == dict(
            zip(columns, means, strict=True)
        )
    code, _, error = run(capsys, *command, "--references", "milannotations:nowhere.csv")
    assert code == 2
    assert "nowhere.csv" in error


def test_descriptions_of_units_without_annotations_need_the_number_of_units(capsys, tmp_path):
    (tmp_path / "milan.csv").write_text("layer,unit,description\nconv1,0,sky\nconv1,7,red things\n")
    (tmp_path / "annotations.csv").write_text("layer,unit,summary\nconv1,0,sky\nconv1,1,sky\n")
    command = ["score", tmp_path / "milan.csv", "--layer", "conv1", "metric=[exact_accuracy]"]
    command += ["--references", f"milannotations:{tmp_path}", "table.resamples=50"]
    code, _, error = run(capsys, *command)
    assert code == 2
    assert "names 2 units" in error
    assert "references.units=8" in error
    code, out, _ = run(capsys, *command, "references.units=8")
    assert code == 0
    assert "1/8" in out


def test_published_descriptions_are_scored_against_published_annotations(shared, capsys):
    folder = shared / "published"
    code, out, _ = run(
        capsys,
        "score",
        folder / "MILAN_results" / "m_places365_resnet152_imagenet.csv",
        "--layer",
        "conv1",
        "--references",
        f"milannotations:{folder / 'MILANNOTATIONS_resnet152_imagenet.csv'}",
        "--reduce",
        "both",
        "metric=[synonym_accuracy]",
        "table.resamples=50",
    )
    assert code == 0
    assert "64 rows" in out
    assert "64/64" in out
    assert "up to 3 texts per unit" in out
    assert "synonym_accuracy_mean" in out


def test_tinyworlds_milan_describes_hidden_layers_without_metrics(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["probe.images=20", "layers=[layer1]", "units=2", "device=cpu", "table.resamples=50"]
    code, out, _ = run(
        capsys, "run", "name=a", "method=[milan_tinyworld]", "metric=[bertscore_f1]", *settings
    )
    assert code == 0
    assert "milan_tinyworld: tinyworld-milan" in out
    records = [json.loads(line) for line in (tmp_path / "runs/a/descriptions.jsonl").open()]
    assert {record["status"] for record in records} <= {"ok", "dead"}
    assert json.loads((tmp_path / "runs/a/metrics.json").read_text()) == {}
