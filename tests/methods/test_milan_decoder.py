"""Tests captions against reference data, and against all captions of a toy vocabulary."""

import itertools
import json

import numpy as np
import pytest
import torch

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoint_files import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.settings import Counting, DecodingSettings, Strategy
from dissectbench.methods.milan.vocabulary import Vocabulary

WITH_LM = ["resnet18", "small_no_encoder"]
MODELS = [*WITH_LM, "no_lm_no_encoder"]


class Reference:
    """A checkpoint in the published format, and the reference captions of four units."""

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
    references = {}

    def read(name):
        if name not in references:
            references[name] = Reference(shared / "golden" / "milan", name)
        return references[name]

    return read


@pytest.mark.parametrize("name", MODELS)
def test_greedy_captions_are_those_of_the_reference(reference, name):
    data = reference(name)
    for caption, unit in zip(data.decoder("greedy").describe(data.features), data.units, strict=True):
        assert caption.text == unit["greedy"]["caption"]
        assert list(caption.tokens) == unit["greedy"]["tokens"][: len(caption.tokens)]
        assert caption.log_prob == pytest.approx(unit["greedy"]["logp_until_stop"], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_beam_is_that_of_the_reference(reference, name):
    data = reference(name)
    result = data.decoder("beam", "batch").n_best(data.features, 50)
    for captions, unit, sums in zip(result, data.units, data.arrays["beam_logp"], strict=True):
        assert captions[0].text == unit["beam"]["caption"]
        np.testing.assert_allclose([c.log_prob for c in captions], sums, atol=1e-3)
        expected = {tuple(h["tokens"]): h for h in unit["n_best"]}
        assert {c.tokens for c in captions} == set(expected)
        for caption in captions:
            assert caption.text == expected[caption.tokens]["caption"]
            if caption.lm_log_prob is not None:
                lm_log_prob = expected[caption.tokens]["lm_logp_reference"]
                assert caption.lm_log_prob == pytest.approx(lm_log_prob, abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
@pytest.mark.parametrize(
    ("counting", "expected"), [("batch", "rerank_reference"), ("exact", "rerank_corrected")]
)
def test_reranked_captions_are_those_of_the_reference(reference, name, counting, expected):
    data = reference(name)
    result = data.decoder("rerank", counting).n_best(data.features, 50)
    for captions, unit in zip(result, data.units, strict=True):
        assert captions[0].text == unit[expected]["caption"]
        assert captions[0].score == pytest.approx(unit[expected]["score"], abs=1e-3)
        which = "reference" if counting == "batch" else "corrected"
        hypotheses = {tuple(h["tokens"]): h for h in unit["n_best"]}
        for caption in captions:
            hypothesis = hypotheses[caption.tokens]
            assert caption.lm_log_prob == pytest.approx(hypothesis[f"lm_logp_{which}"], abs=1e-3)
            assert caption.score == pytest.approx(hypothesis[f"wpmi_{which}"], abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
def test_for_single_units_the_reference_counts_a_second_stop(reference, name):
    data = reference(name)
    decoder = Decoder.of(data.checkpoint)  # `one_more` is the default for a published checkpoint
    result = decoder.n_best(data.features, 50)
    alone = data.arrays["lm_logp_reference_when_alone"]
    for i, (captions, unit) in enumerate(zip(result, data.units, strict=True)):
        assert captions[0].text == unit["rerank_reference_when_alone"]["caption"]
        expected = {tuple(h["tokens"]): alone[i, h["rank_p"]] for h in unit["n_best"]}
        for caption in captions:
            if np.isfinite(expected[caption.tokens]):
                assert caption.lm_log_prob == pytest.approx(expected[caption.tokens], abs=1e-3)


@pytest.mark.parametrize("name", WITH_LM)
def test_captions_of_mi_greedy_and_mi_beam_are_those_of_the_reference(reference, name):
    data = reference(name)
    greedy = data.decoder("mi-greedy").describe(data.features)
    beams = data.decoder("mi-beam").n_best(data.features, 50)
    weight = data.checkpoint.decoding.temperature
    for i, unit in enumerate(data.units):
        assert greedy[i].text == unit["mi_greedy"]["caption"]
        assert greedy[i].score == pytest.approx(unit["mi_greedy"]["score_until_stop"], abs=1e-3)
        np.testing.assert_allclose(
            [c.score for c in beams[i]], data.arrays["mi_beam_scores"][i], atol=1e-3
        )
        assert [c.text for c in beams[i][:1]] == unit["mi_beam"]["captions_top10"][:1]
        for caption in beams[i]:
            information = caption.log_prob - weight * caption.lm_log_prob
            assert information == pytest.approx(caption.score, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_fixed_captions_have_the_probabilities_of_the_reference(reference, name):
    data = reference(name)
    network = data.checkpoint.build_decoder()
    language_model = data.checkpoint.build_language_model()
    features = torch.from_numpy(data.features)
    for forced in data.forced:
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
    data = reference(name)
    tokens = torch.from_numpy(data.arrays["greedy_tokens"])
    start = torch.full((4, 1), data.checkpoint.vocabulary.start)
    log_probs, attention = data.checkpoint.build_decoder()(
        torch.from_numpy(data.features), torch.cat([start, tokens[:, :-1]], dim=1)
    )
    before_stop = torch.cumsum(tokens == data.checkpoint.vocabulary.stop, dim=1) == 0
    for values, key in ((attention, "greedy_attentions"), (log_probs, "greedy_logp_steps")):
        expected = torch.from_numpy(data.arrays[key])
        torch.testing.assert_close(values[before_stop], expected[before_stop], atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_language_model_processes_shared_prefixes_once(reference, monkeypatch):
    data = reference("small_no_encoder")
    language_model = data.checkpoint.build_language_model()
    texts = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6, 0], [7, 0, 0, 0]])
    lengths = torch.tensor([4, 4, 3, 1])
    blocks = []
    read = language_model.read

    def recorded(tokens, *state):
        blocks.append(tokens)
        return read(tokens, *state)

    monkeypatch.setattr(language_model, "read", recorded)
    result = language_model.log_probs(texts, lengths)
    start = torch.full((4, 1), data.checkpoint.vocabulary.start)
    all_steps = language_model(torch.cat([start, texts[:, :-1]], dim=1))
    expected = all_steps.gather(2, texts[..., None])[..., 0]
    inside = torch.arange(4) < lengths[:, None]
    torch.testing.assert_close(result, expected * inside, atol=1e-5, rtol=0)
    # Prefixes "1", "1 2" and "1 2 3" after the start: one row per block; "7" is no prefix.
    assert [int((block != 0).sum()) for block in blocks] == [1, 1, 1, 1]


@pytest.fixture(scope="module")
def toy():
    """A random MILAN of three words, small enough to enumerate all captions."""
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
def test_the_best_of_all_captions_is_chosen(toy, strategy):
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
    for unit, captions in zip(order, decoder.n_best(features[order], 5), strict=True):
        assert captions == together[unit]
    for unit in range(len(features)):
        assert decoder.n_best(features[unit : unit + 1], 5) == together[unit : unit + 1]


def test_counting_by_batch_depends_on_the_other_units(reference):
    data = reference("small_no_encoder")
    decoder = data.decoder("rerank", "batch")
    together = decoder.n_best(data.features, 50)
    alone = [decoder.n_best(data.features[i : i + 1], 50)[0] for i in range(4)]
    assert any(a != b for a, b in zip(together, alone, strict=True))


def test_captions_are_distinct_and_sorted_by_score(toy):
    network, vocabulary, language_model, features = toy
    decoder = Decoder(network, vocabulary, language_model, DecodingSettings("rerank", 4, 30, 0.4))
    for captions in decoder.n_best(features, 10):
        assert len(captions) == 10
        assert len({caption.tokens for caption in captions}) == 10
        scores = [caption.score for caption in captions]
        assert scores == sorted(scores, reverse=True)


def test_no_units_have_no_captions(toy):
    network, vocabulary, language_model, features = toy
    assert Decoder(network, vocabulary, language_model).describe(features[:0]) == []


@pytest.mark.parametrize("strategy", ["rerank", "mi-greedy", "mi-beam"])
def test_strategies_with_a_language_model_need_one(toy, strategy):
    network, vocabulary, _, _ = toy
    with pytest.raises(InputError, match="language model"):
        Decoder(network, vocabulary, None, DecodingSettings(strategy))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"strategy": "best"}, "strategy"), ({"beam": 0}, "beam"), ({"length": 0}, "length")],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(settings, named):
    with pytest.raises(InputError, match=named):
        DecodingSettings(**settings)


def test_features_of_another_shape_or_not_finite_are_rejected(toy):
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
def test_a_caption_is_spelled_as_a_sentence(words, text):
    listed = ("white", "-", "and", "circles", "animals", ",", "grass", "sky", ".", "text", ":", "one")
    vocabulary = Vocabulary((*listed, ";", "two", "red", "round"), "test")
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
