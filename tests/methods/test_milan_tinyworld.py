"""Tests the training of tinyworld's MILAN, its measures and the shipped weights."""

import re

import pytest
import torch

from dissectbench.datasets.tinyworld import probing_set, rendered_folder
from dissectbench.datasets.tinyworld.networks import WEIGHTS, resnet
from dissectbench.datasets.tinyworld.training.saving import write_card
from dissectbench.datasets.tinyworld.words import OBJECTS, WORDS
from dissectbench.harness.activations.forward_pass import probe_layers
from dissectbench.harness.cache import Cache
from dissectbench.harness.progress import Progress
from dissectbench.harness.targets.target import Target
from dissectbench.methods.milan.checkpoint_files import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.exemplar_files import write_exemplars
from dissectbench.methods.milan.language_model import LanguageModelSizes
from dissectbench.methods.milan.settings import DecodingSettings, ExemplarSettings
from dissectbench.methods.milan.tinyworld import train as script
from dissectbench.methods.milan.tinyworld.model_card import Evaluation, card
from dissectbench.methods.milan.tinyworld.networks import NetworkSpec
from dissectbench.methods.milan.tinyworld.quality import Quality, Scores, measure, names_class
from dissectbench.methods.milan.tinyworld.units import TRAINING_SEEDS, Scale
from dissectbench.methods.milan.training.fitting import Epoch, FitSettings
from dissectbench.methods.milan.training.tasks import Split
from dissectbench.methods.milan.training.train import Trained, TrainingSettings


def test_a_class_is_named_by_its_noun_or_its_parts():
    assert names_class("The white sails of something", "boat")
    assert names_class("Butterflies.", "butterfly")
    assert not names_class("Boating on the sea", "boat")
    assert not names_class("A car", "boat")


@pytest.mark.slow
def test_true_descriptions_score_higher_than_the_controls():
    annotations = [("red boats", "a red boat"), ("grass", "areas of grass"), ("cars", "a car")] * 4
    descriptions = [texts[0].capitalize() for texts in annotations]
    quality = measure(descriptions, annotations, annotations)
    assert quality.milan.bertscore == pytest.approx(1, abs=1e-5)
    assert (quality.milan.exact, quality.constant.exact) == (1, pytest.approx(1 / 3))
    assert max(quality.constant.bertscore, quality.shuffled.bertscore) < 0.97


FIT = FitSettings(batch=16, epochs=2)
TINY = TrainingSettings(
    8, 16, 16, 0.2, LanguageModelSizes(8, 16, 2, 0.2), DecodingSettings(beam=4), FIT, FIT
)
NETWORKS = (
    NetworkSpec("colours", "colours", 4, 1, epochs=1),
    NetworkSpec("objects", "objects", 4, 2, epochs=1),
)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """The same small MILAN, trained twice from scratch: (source, trained, annotations) of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        trainings = []
        for name in ("a", "b"):
            scale = Scale(training_images=64, probing_images=30, units_per_layer=3)
            source = script.UnitSource(tmp_path_factory.mktemp(name), scale, Progress("none"))
            trainings.append((source, *script.train_milan(source, NETWORKS, TINY)))
        yield trainings


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv", ".npy") or path.name == "config.json"
        if "cache" not in path.parts and "features" not in path.parts
    }


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(trainings):
    first, second = (files_of(source.folder) for source, *_ in trainings)
    assert any(name.endswith("annotations.csv") for name in first)
    assert any(name.endswith("model.safetensors") for name in first)
    assert first == second


@pytest.mark.slow
def test_finished_steps_are_not_repeated(trainings, monkeypatch):
    source, trained, annotations = trainings[0]
    for function in (
        "tinyworld.networks._train",
        "training.dataset_features._compute",
        "training.train._fit",
    ):
        monkeypatch.setattr(f"dissectbench.methods.milan.{function}", lambda *_, **__: 1 / 0)
    again, same_annotations = script.train_milan(source, NETWORKS, TINY)
    assert again.split == trained.split
    assert same_annotations == annotations


@pytest.mark.slow
def test_a_unit_is_held_out_with_its_exemplars_from_all_probing_sets(trainings):
    source, trained, _ = trainings[0]
    targets = [source.target(spec) for spec in NETWORKS]
    data = [part for seed in TRAINING_SEEDS for part in source.units(targets, seed)]
    units = [(part.name.rpartition("-")[0], u.layer, u.unit) for part in data for u in part.units]
    split = trained.split
    train, held_out = ({units[i] for i in rows} for rows in (split.train, split.held_out))
    assert train
    assert held_out
    assert not train & held_out
    assert len(split.train) + len(split.held_out) == len(units)


@pytest.mark.slow
def test_halved_weights_are_read_back_unchanged(trainings, tmp_path):
    halved = script.halved(trainings[0][1].checkpoint)
    script.save_checkpoint(halved, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert all(torch.equal(loaded.state[name], value) for name, value in halved.state.items())
    assert loaded.state["encoder.mean"].dtype == torch.float32
    assert next(loaded.build_decoder().parameters()).dtype == torch.float32


FOLDER = WEIGHTS / "milan"


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint(FOLDER)


def test_the_shipped_milan_is_small_and_readable_by_all():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert {path.name for path in files} == {"README.md", "config.json", "model.safetensors"}
    assert sum(path.stat().st_size for path in files) <= 4e6
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)


def test_the_shipped_milan_accepts_tinyworlds_classifier_as_its_encoder(shipped):
    encoder = shipped.build_encoder(resnet()[0])
    assert not shipped.has_encoder
    assert encoder.mean.flatten().tolist() == pytest.approx([0.42, 0.42, 0.40])
    assert set(shipped.vocabulary.tokens) & set(WORDS)


@pytest.mark.slow
def test_the_shipped_milan_names_the_classes(shipped, tmp_path):
    rendered_folder.ensure_folder(tmp_path / "images", 600, 7)  # a seed that no training has used
    network, prepare = resnet()
    target = Target.of(network, prepare, name="tinyworld-resnet", device="cpu")
    probe = probing_set(600, 7, tmp_path / "images")
    cache = Cache(tmp_path / "cache")
    layer = probe_layers(target, probe, ["fc"], store=tmp_path / "store", cache=cache)["fc"]
    exemplars = write_exemplars(layer, tmp_path / "exemplars", ExemplarSettings(image_size=96))
    encoder = shipped.build_encoder(network)
    features = encoder.encode(exemplars.images, exemplars.masks, exemplars.ids)
    captions = Decoder.of(shipped).describe(features)
    named = [names_class(c.text, kind) for c, kind in zip(captions, OBJECTS, strict=True)]
    assert sum(named) >= 15, [caption.text for caption in captions]


def test_the_card_compares_milan_with_two_controls():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    scores = re.findall(r"\((\d+)\) \| (MILAN|constant|shuffled) \| \**([\d.]+)\** \| \**([\d.]+)", text)
    assert [case for _, case, _, _ in scores] == ["MILAN", "constant", "shuffled"] * 2
    for start in (0, 3):
        (_, _, best, bleu), *controls = scores[start : start + 3]
        assert float(best) > max(float(score) for _, _, score, _ in controls) + 0.1
        assert float(bleu) > max(float(score) for _, _, _, score in controls)


def test_the_card_is_written_from_what_was_measured(shipped, tmp_path):
    written = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = r"^\| (\S+) \((\d+)\) \| \w+ \| \**([\d.]+)\** \| \**([\d.]+)\** \| ([\d.]+)% \|$"
    cells = re.findall(row, written, re.M)
    quality = {}
    for start in (0, 3):
        scores = [
            Scores(float(b), float(u), float(e) / 100) for _, _, b, u, e in cells[start : start + 3]
        ]
        quality[cells[start][0]] = Quality(int(cells[start][1]), *scores)
    classes = dict(re.findall(r"^\| (\w+) \| ([^|]+) \|$", written, re.M))
    examples = re.findall(r"^\| (\w+, \d+) \| ([^|]+) \| ([^|]+) \|$", written, re.M)
    epochs = tuple(Epoch(0.0, 0.487) for _ in range(27))
    trained = Trained(shipped, Split(tuple(range(6700)), tuple(range(6700, 7445))), epochs, epochs[:26])
    evaluation = Evaluation(quality, [classes[kind] for kind in OBJECTS], examples)
    for file in FOLDER.iterdir():  # the card states the size of the files next to it
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "README.md").unlink()
    write_card(tmp_path, "tinyworld-milan", card(Scale(), trained, evaluation))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == written
