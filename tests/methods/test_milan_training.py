"""Tests the training of a MILAN: it learns, repeats, resumes, and holds units out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_milan import COLOURS, FIT, TINY, colour_exemplars, tiny_encoder
from torch import nn

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoint_files import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.settings import DecodingSettings
from dissectbench.methods.milan.tokenizer import tokenize
from dissectbench.methods.milan.training import fitting
from dissectbench.methods.milan.training.fitting import FitSettings, fit, seeded
from dissectbench.methods.milan.training.tasks import (
    Corpus,
    DecoderTask,
    LanguageModelTask,
    Split,
    split_units,
)
from dissectbench.methods.milan.training.train import TrainingSettings, train, train_annotated
from dissectbench.methods.milan.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def units():
    """Features whose largest entry encodes the colour of a unit, with two annotations each."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 50)
    features = 0.3 * rng.standard_normal((50, 3, 22)).astype(np.float32)
    features[np.arange(50), :, classes] += 3
    names = list(COLOURS)
    texts = [(f"{names[c]} things in a room", f"{names[c]} things on tables") for c in classes]
    return features, texts


def trained(units, folder, settings=TINY, **options):
    features, texts = units
    return train(features, texts, tiny_encoder(), folder, settings, keep_encoder=False, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_teaches_the_colours_of_held_out_units(units, tmp_path):
    settings = replace(
        TINY, fit_decoder=replace(FIT, epochs=12), fit_language_model=replace(FIT, epochs=8)
    )
    result = trained(units, tmp_path, settings)
    losses = [epoch.loss for epoch in result.decoder]
    assert losses[-1] < 0.5 * losses[0]
    assert result.language_model[-1].loss < 0.7 * result.language_model[0].loss
    decoder = Decoder.of(load_checkpoint(tmp_path))
    held_out = list(result.split.held_out)
    captions = decoder.describe(units[0][held_out])
    colours = [units[1][unit][0].split()[0] for unit in held_out]
    named = [colour in c.text.lower() for colour, c in zip(colours, captions, strict=True)]
    assert np.mean(named) >= 0.8


def test_the_same_seed_gives_the_same_weights_and_restores_the_global_generator(units, tmp_path):
    torch.manual_seed(1)
    first = trained(units, tmp_path / "a")
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(2)
    second = trained(units, tmp_path / "b")
    assert equal(first.checkpoint.state, second.checkpoint.state)
    other = trained(units, tmp_path / "c", replace(TINY, seed=1), split=first.split)
    assert not equal(first.checkpoint.state, other.checkpoint.state)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("saves", [1, 3, 4, 6])
def test_a_killed_training_resumes_and_ends_with_the_same_weights(units, tmp_path, monkeypatch, saves):
    whole = trained(units, tmp_path / "whole")
    save, count = fitting._save, 0

    def killed(*args):
        nonlocal count
        save(*args)
        count += 1
        if count == saves:
            raise Killed

    monkeypatch.setattr(fitting, "_save", killed)
    with pytest.raises(Killed):
        trained(units, tmp_path / "again")
    monkeypatch.setattr(fitting, "_save", save)
    torch.manual_seed(5)
    again = trained(units, tmp_path / "again")
    assert equal(again.checkpoint.state, whole.checkpoint.state)
    assert (again.decoder, again.language_model) == (whole.decoder, whole.language_model)
    for name in ("model.safetensors", "config.json", "training.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_training_is_read_and_its_state_is_removed(units, tmp_path, monkeypatch):
    first = trained(units, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "training.json",
    ]
    monkeypatch.setattr(fitting, "_epoch", lambda *_: pytest.fail("trained again"))
    again = trained(units, tmp_path)
    assert equal(again.checkpoint.state, first.checkpoint.state)
    assert (again.split, again.decoder) == (first.split, first.decoder)


class Scripted:
    """A task with a script of scores; its only weight counts the steps."""

    name = "script"

    def __init__(self, scores):
        self.network, self.scores = nn.Linear(1, 1, bias=False), iter(scores)
        nn.init.zeros_(self.network.weight)
        self.seen = []

    def __len__(self):
        return 1

    def loss(self, samples):
        return self.network.weight.sum()

    def score(self):
        self.seen.append(self.network.weight.detach().clone())
        return next(self.scores)


@pytest.mark.parametrize(
    ("scores", "best", "epochs"),
    [
        (
            [1, 5, 2, 3, 4, 0, 1, 9],
            1,
            7,
        ),  # five in a row without a better one: the last score is never asked for
        ([1, 5, 2, 3, 4, 0, 6, 0], 6, 8),
        ([3, 3, 3, 3, 3, 3, 3], 0, 6),  # an equal score is not a better one
    ],
)
def test_the_network_ends_with_the_weights_of_the_best_epoch(tmp_path, scores, best, epochs):
    task = Scripted(scores)
    history = fit(task, FitSettings(batch=1, epochs=8, patience=4), tmp_path / "state.pt", "key")
    assert len(history) == epochs
    assert torch.equal(task.network.weight, task.seen[best])
    assert not torch.equal(task.network.weight, task.seen[-1])
    assert not task.network.training


def test_the_best_weights_survive_a_kill_after_the_best_epoch(tmp_path):
    first = Scripted([1, 9, 2])
    fit(first, FitSettings(batch=1, epochs=3), tmp_path / "state.pt", "key")
    second = Scripted([3, 4])
    fit(second, FitSettings(batch=1, epochs=5), tmp_path / "state.pt", "key")
    assert torch.equal(second.network.weight, first.seen[1])


def test_another_training_is_not_resumed(units, tmp_path):
    fit(Scripted([1]), FitSettings(batch=1, epochs=1), tmp_path / "state.pt", "key")
    with pytest.raises(InputError, match="other data or settings"):
        fit(Scripted([1]), FitSettings(batch=1, epochs=1), tmp_path / "state.pt", "other")
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:200])
    with pytest.raises(InputError, match="is damaged"):
        fit(Scripted([1]), FitSettings(batch=1, epochs=1), tmp_path / "state.pt", "key")
    trained(units, tmp_path / "milan")
    with pytest.raises(InputError, match="trained with other data or settings"):
        trained(units, tmp_path / "milan", replace(TINY, seed=3))
    with pytest.raises(InputError, match="trained with other data or settings"):
        trained((units[0] + 1, units[1]), tmp_path / "milan")


def test_a_loss_that_is_not_finite_is_an_error(tmp_path):
    task = Scripted([1])
    nn.init.constant_(task.network.weight, math.nan)
    with pytest.raises(InputError, match="no longer finite"):
        fit(task, FitSettings(batch=1), tmp_path / "state.pt", "key")


def test_words_of_held_out_units_are_not_in_the_vocabulary(units, tmp_path):
    features, texts = units
    texts = [(*of_unit, f"secret{unit} thing") for unit, of_unit in enumerate(texts)]
    result = trained((features, texts), tmp_path)
    words = set(result.checkpoint.vocabulary.tokens)
    assert {f"secret{unit}" for unit in result.split.train} <= words
    assert not {f"secret{unit}" for unit in result.split.held_out} & words
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["split"] == {
        "train": list(result.split.train),
        "held_out": list(result.split.held_out),
    }
    assert result.checkpoint.vocabulary.tokenizer == "words-1"


def test_both_networks_hold_out_the_same_units_with_all_their_annotations(units):
    features, texts = units
    words = [[tokenize(text) for text in of_unit] for of_unit in texts]
    split = split_units(50, 0.2, 0)
    assert (len(split.train), len(split.held_out)) == (40, 10)
    assert sorted(split.train + split.held_out) == list(range(50))
    vocabulary = Vocabulary.of((text for of_unit in words for text in of_unit), "words-1")
    corpus = Corpus(vocabulary, features, words, split)
    decoder = DecoderTask(AttentionDecoder(DecoderSizes(len(corpus.vocabulary), 22)), corpus, 6, 1.0)
    lm = LanguageModelTask(CaptionLanguageModel(corpus.vocabulary, LanguageModelSizes()), corpus, 7)
    assert len(decoder) == len(lm) == 80
    assert {unit for unit, _ in decoder._samples} == set(split.train)
    assert len(lm._held_out) == 20


def test_losses_do_not_depend_on_padding(units):
    features, _ = units
    texts = [[["red"], ["all", "things", "that", "are", "red"]], [["blue", "things"]]]
    vocabulary = Vocabulary.of([text for of_unit in texts for text in of_unit], "words-1")
    corpus = Corpus(vocabulary, features, texts, Split((0,), (1,)))
    sizes = DecoderSizes(len(vocabulary), 22, 8, 12, 8, dropout=0.0)
    network = AttentionDecoder(sizes).eval()
    words_only, task = (DecoderTask(network, corpus, 6, penalty) for penalty in (0.0, 1.0))
    together, short, long = (words_only.loss(torch.tensor(i)).item() for i in ([0, 1], [0], [1]))
    assert together == pytest.approx((2 * short + 6 * long) / 8, rel=1e-5)  # the mean is over words
    penalties = [task.loss(t).item() - words_only.loss(t).item() for t in torch.tensor([[0], [1]])]
    both = task.loss(torch.tensor([0, 1])).item() - together
    assert both == pytest.approx(np.mean(penalties), rel=1e-4)
    lm = CaptionLanguageModel(vocabulary, LanguageModelSizes(4, 6, 2, 0.0)).eval()
    swapped = replace(corpus, split=Split((1,), (0,)))
    scores = [LanguageModelTask(lm, swapped, batch).score() for batch in (1, 2)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_unknown_words_do_not_count_in_the_language_models_score(units):
    texts = [[["red", "things"]], [["red", "unheard", "things"]]]
    vocabulary = Vocabulary.of(texts[0], "words-1")
    corpus = Corpus(vocabulary, units[0], texts, Split((0,), (1,)))
    lm = CaptionLanguageModel(vocabulary, LanguageModelSizes(4, 6, 2, 0.0)).eval()
    with torch.no_grad():
        bias = lm.state_dict()["output.0.bias"]
        bias[vocabulary.unknown] = -1e9  # in training, a word that never occurs becomes impossible
    assert LanguageModelTask(lm, corpus, 1).score() > -10


def test_a_split_needs_units_for_training_and_held_out(units, tmp_path):
    with pytest.raises(InputError, match="0 units for training and 1 held out"):
        split_units(1, 0.1, 0)
    with pytest.raises(InputError, match="0 units for training and 0 held out"):
        Split((), ())
    with pytest.raises(ValueError, match="both in training and held out"):
        Split((0, 1), (1,))
    assert len(split_units(2, 0.1, 0).held_out) == 1


@pytest.mark.parametrize("wrong", [{"hold_out": 0.0}, {"hold_out": 1.0}, {"language_model": None}])
def test_settings_out_of_range_are_rejected(wrong):
    with pytest.raises(InputError):
        TrainingSettings(**wrong)
    with pytest.raises(InputError, match="batch=0"):
        FitSettings(batch=0)


def test_features_must_fit_texts_and_encoder(units, tmp_path):
    features, texts = units
    with pytest.raises(ValueError, match="for 49 units"):
        trained((features, texts[:-1]), tmp_path)
    with pytest.raises(ValueError, match="not all finite"):
        trained((np.where(features > 3.5, np.nan, features), texts), tmp_path)
    with pytest.raises(InputError, match=r"'tiny'[\s\S]*keep_encoder=false"):
        train(features, texts, tiny_encoder(), tmp_path, TINY)


def test_a_decoder_can_be_trained_without_a_language_model(units, tmp_path):
    settings = replace(TINY, language_model=None, decoding=DecodingSettings("beam", 6, 3))
    assert trained(units, tmp_path, settings).language_model == ()
    assert load_checkpoint(tmp_path).language_model is None


def test_a_milan_trained_on_annotated_exemplars_describes_held_out_units(tmp_path):
    annotated = colour_exemplars(tmp_path / "data")
    settings = replace(
        TINY, fit_decoder=replace(FIT, epochs=15, patience=15), fit_language_model=replace(FIT, epochs=3)
    )
    encoder = tiny_encoder()
    result = train_annotated([annotated], encoder, tmp_path / "milan", settings, keep_encoder=False)
    checkpoint = load_checkpoint(tmp_path / "milan")
    again = checkpoint.build_encoder(tiny_encoder().model)
    exemplars = (annotated.exemplars(index) for index in range(len(annotated)))
    images, masks = zip(*exemplars, strict=True)
    captions = Decoder.of(checkpoint).describe(again.encode(np.stack(images), np.stack(masks)))
    exact = [captions[u].text.lower() == annotated.texts[u][0] for u in result.split.held_out]
    assert np.mean(exact) > 0.7


def test_the_checkpoint_contains_the_weights_of_a_torchvision_encoder(tmp_path):
    from torchvision.models import resnet18

    with seeded(torch.device("cpu"), 0, "resnet18"):
        encoder = PyramidEncoder(resnet18(weights=None), "resnet18")
    rng = np.random.default_rng(0)
    features = rng.random((6, 2, encoder.size), np.float32)
    settings = replace(
        TINY, fit_decoder=replace(FIT, epochs=1), fit_language_model=replace(FIT, epochs=1)
    )
    train(features, [("red things",)] * 6, encoder, tmp_path, settings)
    again = load_checkpoint(tmp_path).build_encoder()
    assert equal(dict(again.state_dict()), dict(encoder.state_dict()))
