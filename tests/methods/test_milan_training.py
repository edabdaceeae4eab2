import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoints import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.settings import DecodingSettings
from dissectbench.methods.milan.tokenizer import tokenize
from dissectbench.methods.milan.training import features as features_module
from dissectbench.methods.milan.training import fitting
from dissectbench.methods.milan.training.bleu import corpus_bleu
from dissectbench.methods.milan.training.dataset import open_annotated
from dissectbench.methods.milan.training.features import unit_features
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

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230), "white": (240, 240, 240)}
FIT = FitSettings(batch=16, epochs=4, learning_rate=1e-2)
TINY = TrainingSettings(
    embedding=8,
    hidden=24,
    attention=16,
    dropout=0.2,
    language_model=LanguageModelSizes(8, 16, 2, 0.2),
    decoding=DecodingSettings("rerank", length=6, beam=5),
    fit_decoder=FIT,
    fit_language_model=FIT,
    hold_out=0.2,
)


class TinyNetwork(nn.Module):
    """Named like a ResNet, and small."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 6, 3, 2, 1), nn.Identity(), nn.ReLU()
        self.maxpool = nn.MaxPool2d(2)
        for number in range(1, 5):
            convolution = nn.Conv2d(6 if number == 1 else 4, 4, 3, 1, 1)
            setattr(self, f"layer{number}", nn.Sequential(convolution, nn.ReLU()))


def tiny_encoder(seed=0):
    with seeded(torch.device("cpu"), seed, "tiny"):
        return PyramidEncoder(TinyNetwork(), "tiny")


@pytest.fixture(scope="module")
def units():
    """Features whose largest part says which colour a unit is about, with two texts each."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 50)
    found = 0.3 * rng.standard_normal((50, 3, 22)).astype(np.float32)
    found[np.arange(50), :, classes] += 3
    names = list(COLOURS)
    texts = [(f"{names[c]} things in a room", f"{names[c]} things on tables") for c in classes]
    return found, texts


def trained(units, folder, settings=TINY, **options):
    features, texts = units
    return train(features, texts, tiny_encoder(), folder, settings, keep_encoder=False, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_learns(units, tmp_path):
    settings = replace(
        TINY, fit_decoder=replace(FIT, epochs=12), fit_language_model=replace(FIT, epochs=8)
    )
    found = trained(units, tmp_path, settings)
    losses = [epoch.loss for epoch in found.decoder]
    assert losses[-1] < 0.5 * losses[0]
    assert found.language_model[-1].loss < 0.7 * found.language_model[0].loss
    decoder = Decoder.of(load_checkpoint(tmp_path))
    held_out = list(found.split.held_out)
    captions = decoder.describe(units[0][held_out])
    right = [units[1][u][0].split()[0] in c.text.lower() for u, c in zip(held_out, captions, strict=True)]
    assert np.mean(right) >= 0.8


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(units, tmp_path):
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
def test_a_killed_training_ends_like_one_that_was_not(units, tmp_path, monkeypatch, saves):
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


def test_a_finished_training_is_read_and_its_state_is_gone(units, tmp_path, monkeypatch):
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
    """A task whose scores are given; its one weight counts the steps."""

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
        ([1, 5, 2, 3, 4, 0, 1, 9], 1, 7),  # five in a row without a better one: the ninth is never seen
        ([1, 5, 2, 3, 4, 0, 6, 0], 6, 8),
        ([3, 3, 3, 3, 3, 3, 3], 0, 6),  # as good is not better
    ],
)
def test_the_weights_of_the_best_epoch_are_the_ones_returned(tmp_path, scores, best, epochs):
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


def test_another_training_is_not_gone_on_with(units, tmp_path):
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


def test_a_loss_that_is_not_finite_is_said(tmp_path):
    task = Scripted([1])
    nn.init.constant_(task.network.weight, math.nan)
    with pytest.raises(InputError, match="not finite any more"):
        fit(task, FitSettings(batch=1), tmp_path / "state.pt", "key")


def test_words_of_held_out_units_never_reach_the_vocabulary(units, tmp_path):
    features, texts = units
    texts = [(*several, f"secret{unit} thing") for unit, several in enumerate(texts)]
    found = trained((features, texts), tmp_path)
    words = set(found.checkpoint.vocabulary.tokens)
    assert {f"secret{unit}" for unit in found.split.train} <= words
    assert not {f"secret{unit}" for unit in found.split.held_out} & words
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["split"] == {
        "train": list(found.split.train),
        "held_out": list(found.split.held_out),
    }
    assert found.checkpoint.vocabulary.tokenizer == "words-1"


def test_both_networks_hold_out_the_same_units_with_all_their_texts(units):
    features, texts = units
    words = [[tokenize(text) for text in several] for several in texts]
    split = split_units(50, 0.2, 0)
    assert (len(split.train), len(split.held_out)) == (40, 10)
    assert sorted(split.train + split.held_out) == list(range(50))
    corpus = Corpus(
        Vocabulary.of((t for several in words for t in several), "words-1"), features, words, split
    )
    decoder = DecoderTask(AttentionDecoder(DecoderSizes(len(corpus.vocabulary), 22)), corpus, 6, 1.0)
    lm = LanguageModelTask(CaptionLanguageModel(corpus.vocabulary, LanguageModelSizes()), corpus, 7)
    assert len(decoder) == len(lm) == 80
    assert {unit for unit, _ in decoder._samples} == set(split.train)
    assert len(lm._held_out) == 20


def test_losses_do_not_depend_on_what_fills_up_a_batch(units):
    features, _ = units
    texts = [[["red"], ["all", "things", "that", "are", "red"]], [["blue", "things"]]]
    vocabulary = Vocabulary.of([text for several in texts for text in several], "words-1")
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
    found = [LanguageModelTask(lm, replace(corpus, split=Split((1,), (0,))), n).score() for n in (1, 2)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_unknown_words_are_not_held_against_the_language_model(units):
    texts = [[["red", "things"]], [["red", "unheard", "things"]]]
    vocabulary = Vocabulary.of(texts[0], "words-1")
    corpus = Corpus(vocabulary, units[0], texts, Split((0,), (1,)))
    lm = CaptionLanguageModel(vocabulary, LanguageModelSizes(4, 6, 2, 0.0)).eval()
    with torch.no_grad():
        bias = lm.state_dict()["output.0.bias"]
        bias[vocabulary.unknown] = -1e9  # what is never learnt becomes impossible
    assert LanguageModelTask(lm, corpus, 1).score() > -10


def test_a_split_needs_units_on_both_sides(units, tmp_path):
    with pytest.raises(InputError, match="0 units to learn from and 1 held out"):
        split_units(1, 0.1, 0)
    with pytest.raises(InputError, match="0 units to learn from and 0 held out"):
        Split((), ())
    with pytest.raises(ValueError, match="may not be learnt"):
        Split((0, 1), (1,))
    assert len(split_units(2, 0.1, 0).held_out) == 1


@pytest.mark.parametrize("wrong", [{"hold_out": 0.0}, {"hold_out": 1.0}, {"language_model": None}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        TrainingSettings(**wrong)
    with pytest.raises(InputError, match="batch=0"):
        FitSettings(batch=0)


def test_features_must_fit(units, tmp_path):
    features, texts = units
    with pytest.raises(ValueError, match="for 49 units"):
        trained((features, texts[:-1]), tmp_path)
    with pytest.raises(ValueError, match="not all finite"):
        trained((np.where(features > 3.5, np.nan, features), texts), tmp_path)
    with pytest.raises(InputError, match=r"'tiny'[\s\S]*keep_encoder=false"):
        train(features, texts, tiny_encoder(), tmp_path, TINY)


def test_a_decoder_can_be_trained_without_a_language_model(units, tmp_path):
    settings = replace(TINY, language_model=None, decoding=DecodingSettings("beam", 6, 3))
    found = trained(units, tmp_path, settings)
    assert found.language_model == ()
    assert load_checkpoint(tmp_path).language_model is None


@pytest.fixture
def annotated(tmp_path):
    """Exemplars of one colour per unit, in two layers."""
    rng = np.random.default_rng(0)
    rows = ["layer,unit,summary"]
    names = list(COLOURS)
    for layer, n in (("conv1", 21), ("conv2", 18)):
        folder = tmp_path / "data" / layer
        folder.mkdir(parents=True)
        classes = rng.integers(0, 4, n)
        images = np.array([COLOURS[names[c]] for c in classes])[:, None, :, None, None]
        noise = rng.integers(-25, 26, (n, 3, 3, 16, 16))
        np.save(folder / "images.npy", np.clip(images + noise, 0, 255).astype(np.uint8))
        np.save(folder / "masks.npy", np.ones((n, 3, 1, 16, 16), np.uint8))
        np.savetxt(folder / "ids.csv", rng.integers(0, 99, (n, 3)), fmt="%d", delimiter=",")
        rows += [f"{layer},{u},{names[c]} things" for u, c in enumerate(classes) for _ in range(3)]
    (tmp_path / "data" / "annotations.csv").write_text("\n".join(rows) + "\n")
    return open_annotated(tmp_path / "data")


@pytest.mark.numerics
def test_features_are_those_of_each_unit_alone_and_are_computed_once(annotated, tmp_path, monkeypatch):
    encoder = tiny_encoder()
    found = unit_features([annotated], encoder, tmp_path)
    assert isinstance(found, np.memmap)
    for index in (0, 15, 16, 38):
        images, masks = annotated.exemplars(index)
        assert np.array_equal(found[index], encoder.encode(images[None], masks[None])[0])
    monkeypatch.setattr(features_module, "_encoded", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(unit_features([annotated], encoder, tmp_path), found)
    monkeypatch.undo()
    assert not np.array_equal(unit_features([annotated], tiny_encoder(1), tmp_path), found)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_interrupted_features_go_on_at_the_last_block(annotated, tmp_path, monkeypatch, blocks):
    whole = unit_features([annotated, annotated], tiny_encoder(), tmp_path / "whole")
    real, asked = features_module._encoded, []

    def killed(units, block, encoder):
        if len(asked) == blocks:
            raise Killed
        asked.append(block)
        return real(units, block, encoder)

    monkeypatch.setattr(features_module, "_encoded", killed)
    with pytest.raises(Killed):
        unit_features([annotated, annotated], tiny_encoder(), tmp_path / "again")
    blocks = 99
    again = unit_features([annotated, annotated], tiny_encoder(), tmp_path / "again")
    assert np.array_equal(again, whole)
    assert len(asked) == 8  # 117 pictures, 16 at a time, none twice
    assert [p.suffix for p in (tmp_path / "again").iterdir()] == [".npy"]


class Watched:
    """An encoder that remembers what it was shown."""

    def __init__(self, encoder):
        self.encoder, self.shown = encoder, []

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode_shared(self, pictures, masks):
        self.shown += [picture.tobytes() for picture in pictures]
        return self.encoder.encode_shared(pictures, masks)


def shared_exemplars(folder, images, units):
    """Exemplars of units of two layers among a few images; a number means one image in both."""
    rng = np.random.default_rng(1)
    for layer in ("conv1", "conv2"):
        ids = rng.integers(0, len(images), (units, 3))
        (folder / layer).mkdir(parents=True)
        np.save(folder / layer / "images.npy", images[ids])
        np.save(folder / layer / "masks.npy", rng.integers(0, 2, (units, 3, 1, 16, 16), np.uint8))
        np.savetxt(folder / layer / "ids.csv", ids, fmt="%d", delimiter=",")
    rows = [f"{layer},{unit},things" for layer in ("conv1", "conv2") for unit in range(units)]
    (folder / "annotations.csv").write_text("\n".join(["layer,unit,summary", *rows]) + "\n")
    return open_annotated(folder, per_unit=1)


def wide_encoder():
    """As wide as real ones: vectors are alike to the last bit, whatever they are computed with."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PyramidEncoder(resnet18(), "resnet18")


def test_a_picture_is_shown_to_the_encoder_once_whoever_shares_it(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 16, 16), np.uint8)
    data = [shared_exemplars(tmp_path / name, images, 20) for name in "ab"]
    watched: Any = Watched(wide_encoder())
    found = unit_features(data, watched, tmp_path / "features")
    assert sorted(watched.shown) == sorted(image.tobytes() for image in images)
    for row, (part, index) in enumerate((part, index) for part in data for index in range(40)):
        shown, masks = part.exemplars(index)
        assert np.array_equal(found[row], watched.encode(shown[None], masks[None])[0])


def test_one_number_may_mean_two_pictures_where_the_data_set_brings_them(annotated, tmp_path):
    for layer, n in (("conv1", 21), ("conv2", 18)):
        folder = annotated.folders[layer].path
        np.savetxt(folder / "ids.csv", np.zeros((n, 3)), fmt="%d", delimiter=",")
    same_numbers = open_annotated(annotated.folders["conv1"].path.parent)
    assert np.array_equal(
        unit_features([same_numbers], tiny_encoder(), tmp_path / "a"),
        unit_features([annotated], tiny_encoder(), tmp_path / "b"),
    )


def test_a_picture_of_more_exemplars_than_fit_in_memory_is_encoded_in_pieces(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), np.uint8)
    data = [shared_exemplars(tmp_path / "data", images, 20)]
    whole = unit_features(data, wide_encoder(), tmp_path / "whole")
    monkeypatch.setattr(features_module, "_MASKS", 7)
    assert np.array_equal(unit_features(data, wide_encoder(), tmp_path / "pieces"), whole)


def test_from_annotated_exemplars_to_descriptions(annotated, tmp_path):
    settings = replace(
        TINY, fit_decoder=replace(FIT, epochs=15, patience=15), fit_language_model=replace(FIT, epochs=3)
    )
    encoder = tiny_encoder()
    found = train_annotated([annotated], encoder, tmp_path / "milan", settings, keep_encoder=False)
    checkpoint = load_checkpoint(tmp_path / "milan")
    again = checkpoint.build_encoder(tiny_encoder().model)
    images, masks = zip(*annotated, strict=True)
    captions = Decoder.of(checkpoint).describe(again.encode(np.stack(images), np.stack(masks)))
    held_out = [captions[u].text.lower() == annotated.texts[u][0] for u in found.split.held_out]
    assert np.mean(held_out) > 0.7


def test_the_weights_of_a_known_encoder_are_kept(tmp_path):
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Red and blue things.", "red and blue things ."),
        ("dog's noses", "dog 's noses"),
        ("things that aren't round", "things that are n't round"),
        ("don\u2019t", "do n't"),
        ("black-and-white, 3.5 cm", "black - and - white , 3.5 cm"),
        ("caf\u00e9 (outside)", "caf\u00e9 ( outside )"),
        ("  ", ""),
    ],
)
def test_texts_come_apart_into_words(text, words):
    assert tokenize(text) == words.split()


def bleu(prediction, *references):
    return corpus_bleu([prediction.split()], [[text.split() for text in references]])


def test_bleu_is_that_of_its_definition():
    assert bleu("a b c d e", "a b c d e") == pytest.approx(1)
    assert bleu("x y", "a b") == 0
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu("a b c d x e", "a b c d e f") == pytest.approx(expected)
    # a word counts as often as in the reference that has it most often
    assert bleu("the the the the", "the the cat sat") == pytest.approx(
        (2 / 4 * 1 / 3 * 0.5 / 2 * 0.25) ** 0.25
    )
    # the closest reference (here the shorter one of two that are equally close) says how long is long
    assert bleu("a b c d", "a b c d e f g h") == pytest.approx(math.exp(1 - 8 / 4))
    assert bleu("a b c d", "a b c d e f g h", "a b c d e") == pytest.approx(math.exp(1 - 5 / 4))
    assert bleu("a b c d", "a b c", "a b c d e") == pytest.approx(1)
    with pytest.raises(ValueError, match="without references"):
        corpus_bleu([["a"]], [[]])


def test_bleu_counts_over_all_captions_together():
    one, two = list("abcde"), list("abxyz")
    both = corpus_bleu([one, two], [[one], [one]])
    assert both == pytest.approx((7 / 10 * 5 / 8 * 3 / 6 * 2 / 4) ** 0.25)
