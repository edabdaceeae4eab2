"""Captions against the reference's, and against trying every caption of a toy vocabulary."""

import itertools
import json

import numpy as np
import pytest
import torch

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoints import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.settings import Counting, DecodingSettings, Strategy
from dissectbench.methods.milan.vocabulary import Vocabulary

WITH_LM = ["resnet18", "small_no_encoder"]
MODELS = [*WITH_LM, "no_lm_no_encoder"]


class Reference:
    """One published-format checkpoint and what the reference made of four units with it."""

    def __init__(self, folder, name):
        self.checkpoint = load_checkpoint(folder / f"milan_{name}.pth")
        self.arrays = np.load(folder / f"expected_{name}.npz")
        model = json.loads((folder / "expected.json").read_text())["models"][name]
        self.units, self.forced = model["units"], model["forced"]
        self.features = np.load(folder / "expected_resnet18.npz")["features"]

    def decoder(self, strategy: Strategy, counting: Counting = "exact"):
        return Decoder.of(self.checkpoint, strategy=strategy, counting=counting)


@pytest.fixture(scope="module")
def reference(shared):
    kept = {}

    def read(name):
        if name not in kept:
            kept[name] = Reference(shared / "golden" / "milan", name)
        return kept[name]

    return read


@pytest.mark.parametrize("name", MODELS)
def test_greedy_captions_are_those_of_the_reference(reference, name):
    given = reference(name)
    for caption, unit in zip(given.decoder("greedy").describe(given.features), given.units, strict=True):
        assert caption.text == unit["greedy"]["caption"]
        assert list(caption.tokens) == unit["greedy"]["tokens"][: len(caption.tokens)]
        assert caption.log_prob == pytest.approx(unit["greedy"]["logp_until_stop"], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_beam_is_that_of_the_reference(reference, name):
    given = reference(name)
    found = given.decoder("beam", "batch").n_best(given.features, 50)
    for captions, unit, sums in zip(found, given.units, given.arrays["beam_logp"], strict=True):
        assert captions[0].text == unit["beam"]["caption"]
        np.testing.assert_allclose([c.log_prob for c in captions], sums, atol=1e-3)
        expected = {tuple(h["tokens"]): h for h in unit["n_best"]}
        assert {c.tokens for c in captions} == set(expected)
        for caption in captions:
            assert caption.text == expected[caption.tokens]["caption"]
            if caption.lm_log_prob is not None:
                known = expected[caption.tokens]["lm_logp_reference"]
                assert caption.lm_log_prob == pytest.approx(known, abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
@pytest.mark.parametrize(
    ("counting", "expected"), [("batch", "rerank_reference"), ("exact", "rerank_corrected")]
)
def test_reranked_captions_are_those_of_the_reference(reference, name, counting, expected):
    given = reference(name)
    found = given.decoder("rerank", counting).n_best(given.features, 50)
    for captions, unit in zip(found, given.units, strict=True):
        assert captions[0].text == unit[expected]["caption"]
        assert captions[0].score == pytest.approx(unit[expected]["score"], abs=1e-3)
        which = "reference" if counting == "batch" else "corrected"
        known = {tuple(h["tokens"]): h for h in unit["n_best"]}
        for caption in captions:
            hypothesis = known[caption.tokens]
            assert caption.lm_log_prob == pytest.approx(hypothesis[f"lm_logp_{which}"], abs=1e-3)
            assert caption.score == pytest.approx(hypothesis[f"wpmi_{which}"], abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
def test_one_unit_at_a_time_the_reference_counts_one_stop_more(reference, name):
    given = reference(name)
    decoder = Decoder.of(given.checkpoint)  # a published checkpoint: that is the default
    found = decoder.n_best(given.features, 50)
    alone = given.arrays["lm_logp_reference_when_alone"]
    for i, (captions, unit) in enumerate(zip(found, given.units, strict=True)):
        assert captions[0].text == unit["rerank_reference_when_alone"]["caption"]
        known = {tuple(h["tokens"]): alone[i, h["rank_p"]] for h in unit["n_best"]}
        for caption in captions:
            if np.isfinite(known[caption.tokens]):
                assert caption.lm_log_prob == pytest.approx(known[caption.tokens], abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
def test_captions_by_information_word_by_word_are_those_of_the_reference(reference, name):
    given = reference(name)
    greedy = given.decoder("mi-greedy").describe(given.features)
    beams = given.decoder("mi-beam").n_best(given.features, 50)
    weight = given.checkpoint.decoding.temperature
    for i, unit in enumerate(given.units):
        assert greedy[i].text == unit["mi_greedy"]["caption"]
        assert greedy[i].score == pytest.approx(unit["mi_greedy"]["score_until_stop"], abs=1e-3)
        np.testing.assert_allclose(
            [c.score for c in beams[i]], given.arrays["mi_beam_scores"][i], atol=1e-3
        )
        assert [c.text for c in beams[i][:1]] == unit["mi_beam"]["captions_top10"][:1]
        for caption in beams[i]:
            information = caption.log_prob - weight * caption.lm_log_prob
            assert information == pytest.approx(caption.score, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_given_captions_have_the_probabilities_of_the_reference(reference, name):
    given = reference(name)
    network = given.checkpoint.build_decoder()
    language_model = given.checkpoint.build_language_model()
    features = torch.from_numpy(given.features)
    for forced in given.forced:
        tokens = torch.tensor([forced["tokens"]] * 4)
        log_probs, _ = network(features, tokens[:, :-1])
        sums = log_probs.gather(2, tokens[:, 1:, None]).sum(dim=(1, 2))
        np.testing.assert_allclose(sums, forced["logp_given_unit"], atol=1e-3)
        if language_model is not None:
            predicted = language_model(tokens[:1, :-1]).gather(2, tokens[:1, 1:, None])
            assert predicted.sum().item() == pytest.approx(forced["lm_logp"], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_attention_is_that_of_the_reference(reference, name):
    given = reference(name)
    said = torch.from_numpy(given.arrays["greedy_tokens"])
    start = torch.full((4, 1), given.checkpoint.vocabulary.start)
    log_probs, attention = given.checkpoint.build_decoder()(
        torch.from_numpy(given.features), torch.cat([start, said[:, :-1]], dim=1)
    )
    before_stop = torch.cumsum(said == given.checkpoint.vocabulary.stop, dim=1) == 0
    for found, key in ((attention, "greedy_attentions"), (log_probs, "greedy_logp_steps")):
        expected = torch.from_numpy(given.arrays[key])
        torch.testing.assert_close(found[before_stop], expected[before_stop], atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_language_model_reads_shared_beginnings_once(reference, monkeypatch):
    given = reference("small_no_encoder")
    language_model = given.checkpoint.build_language_model()
    texts = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6, 0], [7, 0, 0, 0]])
    lengths = torch.tensor([4, 4, 3, 1])
    rows = []
    read = language_model.read

    def counted(tokens, *state):
        rows.append(tokens)
        return read(tokens, *state)

    monkeypatch.setattr(language_model, "read", counted)
    found = language_model.log_probs(texts, lengths)
    start = torch.full((4, 1), given.checkpoint.vocabulary.start)
    all_steps = language_model(torch.cat([start, texts[:, :-1]], dim=1))
    expected = all_steps.gather(2, texts[..., None])[..., 0]
    inside = torch.arange(4) < lengths[:, None]
    torch.testing.assert_close(found, expected * inside, atol=1e-5, rtol=0)
    # After the start: "1"; then "1 2"; then "1 2 3": every block holds one row, "7" needs none.
    assert [int((block != 0).sum()) for block in rows] == [1, 1, 1, 1]


@pytest.fixture(scope="module")
def toy():
    """A random MILAN of three words, whose captions can all be written down."""
    vocabulary = Vocabulary(("red", "round", "."), "test")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = AttentionDecoder(DecoderSizes(len(vocabulary), 16, 16, 32, 16))
        language_model = CaptionLanguageModel(vocabulary, LanguageModelSizes(16, 32))
    for part in (network, language_model):
        for parameter in part.parameters():
            parameter.data *= 3  # far from uniform
    features = np.random.default_rng(2).normal(size=(35, 5, 16)).astype(np.float32)
    return network.eval(), vocabulary, language_model.eval(), features


@pytest.mark.parametrize("strategy", ["beam", "rerank", "mi-beam"])
@torch.no_grad()
def test_the_best_of_all_captions_is_found(toy, strategy):
    network, vocabulary, language_model, features = toy
    decoder = Decoder(network, vocabulary, language_model, DecodingSettings(strategy, 3, 400, 0.4))
    sequences = list(itertools.product(range(len(vocabulary)), repeat=3))
    tokens = torch.tensor(sequences)
    inputs = torch.cat([torch.full((len(tokens), 1), vocabulary.start), tokens[:, :-1]], dim=1)
    before = torch.cumsum(inputs == vocabulary.stop, dim=1) == 0
    p_lm = language_model(inputs).gather(2, tokens[..., None])[..., 0]
    for unit, caption in zip(features, decoder.describe(features), strict=True):
        same = torch.from_numpy(unit).expand(len(tokens), -1, -1)
        p = network(same, inputs)[0].gather(2, tokens[..., None])[..., 0]
        log_p, log_lm = (p * before).sum(dim=1), (p_lm * before).sum(dim=1)
        scores = log_p if strategy == "beam" else log_p - 0.4 * log_lm
        best = int(scores.argmax())
        assert caption.score == pytest.approx(scores[best].item(), abs=1e-4)
        assert caption.log_prob == pytest.approx(log_p[best].item(), abs=1e-4)
        assert caption.lm_log_prob == pytest.approx(log_lm[best].item(), abs=1e-4)
        assert caption.text == vocabulary.caption(sequences[best])


@pytest.mark.numerics
@pytest.mark.parametrize("strategy", ["greedy", "beam", "rerank", "mi-greedy", "mi-beam"])
@pytest.mark.parametrize("counting", ["exact", "one_more"])
def test_a_caption_does_not_depend_on_the_other_units(toy, strategy, counting):
    network, vocabulary, language_model, features = toy
    decoder = Decoder(
        network,
        vocabulary,
        language_model,
        DecodingSettings(strategy, 6, 60, 0.4),
        counting=counting,
    )
    together = decoder.n_best(features, 5)
    order = np.random.default_rng(0).permutation(len(features))
    for place, captions in zip(order, decoder.n_best(features[order], 5), strict=True):
        assert captions == together[place]
    for unit in range(len(features)):
        assert decoder.n_best(features[unit : unit + 1], 5) == together[unit : unit + 1]


def test_counting_by_the_batch_depends_on_the_other_units(reference):
    given = reference("small_no_encoder")
    decoder = given.decoder("rerank", "batch")
    together = decoder.n_best(given.features, 50)
    alone = [decoder.n_best(given.features[i : i + 1], 50)[0] for i in range(4)]
    assert any(a != b for a, b in zip(together, alone, strict=True))


def test_the_best_come_first_and_no_caption_twice(toy):
    network, vocabulary, language_model, features = toy
    decoder = Decoder(network, vocabulary, language_model, DecodingSettings("rerank", 4, 30, 0.4))
    for captions in decoder.n_best(features, 10):
        assert len(captions) == 10
        assert len({caption.tokens for caption in captions}) == 10
        scores = [caption.score for caption in captions]
        assert scores == sorted(scores, reverse=True)


def test_no_units_get_no_captions(toy):
    network, vocabulary, language_model, features = toy
    assert Decoder(network, vocabulary, language_model).describe(features[:0]) == []


@pytest.mark.parametrize("strategy", ["rerank", "mi-greedy", "mi-beam"])
def test_without_a_language_model_information_cannot_be_had(toy, strategy):
    network, vocabulary, _, _ = toy
    with pytest.raises(InputError, match="language model"):
        Decoder(network, vocabulary, None, DecodingSettings(strategy))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"strategy": "best"}, "strategy"), ({"beam": 0}, "beam"), ({"length": 0}, "length")],
)
def test_a_setting_out_of_range_is_named(settings, named):
    with pytest.raises(InputError, match=named):
        DecodingSettings(**settings)


def test_features_that_cannot_be_are_refused(toy):
    network, vocabulary, language_model, features = toy
    decoder = Decoder(network, vocabulary, language_model)
    broken = features.copy()
    broken[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="unit 3"):
        decoder.describe(broken)
    with pytest.raises(ValueError, match="expected"):
        decoder.describe(features[..., :8])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("white - and - white circles", "White-and-white circles"),
        ("animals , grass and sky . text : one ; two", "Animals, grass and sky. Text: one; two"),
        ("<start> red <pad> <unk> <stop> round", "Red <unk>"),
        ("<stop>", ""),
    ],
)
def test_a_caption_is_written_as_a_sentence(words, text):
    known = ("white", "-", "and", "circles", "animals", ",", "grass", "sky", ".", "text", ":", "one")
    vocabulary = Vocabulary((*known, ";", "two", "red", "round"), "test")
    special = {
        "<start>": vocabulary.start,
        "<stop>": vocabulary.stop,
        "<pad>": vocabulary.pad,
        "<unk>": vocabulary.unknown,
    }
    numbers = [special[w] if w in special else vocabulary.encode([w])[1] for w in words.split()]
    assert vocabulary.caption(numbers) == text


def test_a_vocabulary_is_ordered_by_frequency():
    vocabulary = Vocabulary.of([["b", "a", "c"], ["c", "a"], ["c"]], "test")
    assert vocabulary.tokens == ("c", "a", "b")
    assert vocabulary.encode(["a", "z"]) == [3, 1, 6, 4]
    assert len(vocabulary) == 7
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(("a", "a"), "test")
