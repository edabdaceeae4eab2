"""CLIP-Dissect: descriptions, evidence, caching, settings."""

import re

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.concepts import ConceptSet
from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness import conf
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.files import fingerprint
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.clip_dissect.clip_dissect import CLIPDissect
from dissectbench.methods.clip_dissect.similarity import SIMILARITIES, soft_wpmi

IMAGES, UNITS, WIDTH = 150, 8, 12
DEAD, NOT_FINITE = 3, 6
WORDS = ConceptSet("colours", ("red", "green", "blue", "dark", "bright", "boat", "tree"))


class Colours(ProbingSet):
    """Images of one colour, which encodes the index."""

    name = "colours"

    def __len__(self):
        return IMAGES

    def image(self, index):
        return Image.new("RGB", (4, 4), (index % 256, index // 256, 7))

    def locate(self, index):
        return f"colour-{index}"

    def fingerprint(self):
        return "colours"


class RandomEncoder:
    """An image-text model with fixed random embeddings; counts the images and texts it embeds."""

    name = "random embeddings"

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.seed, self.images, self.texts = seed, 0, 0
        self._images, self._texts = (self._unit(rng, n) for n in (IMAGES, len(WORDS)))

    @staticmethod
    def _unit(rng, n):
        rows = np.abs(rng.standard_normal((n, WIDTH)))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def fingerprint(self):
        return fingerprint(["embedded", self.seed])

    def encode_images(self, images):
        indices = [image.getpixel((0, 0))[0] + 256 * image.getpixel((0, 0))[1] for image in images]
        self.images += len(indices)
        return self._images[indices]

    def encode_texts(self, texts):
        self.texts += len(texts)
        return self._texts[[WORDS.words.index(text) for text in texts]]


@pytest.fixture
def encoder():
    return RandomEncoder()


@pytest.fixture
def values():
    rng = np.random.default_rng(1)
    values = np.maximum(rng.standard_normal((IMAGES, UNITS)), 0).astype(np.float32)
    values[:, DEAD] = 0.25
    values[5, NOT_FINITE] = np.nan
    return values


@pytest.fixture
def layer(values, tmp_path):
    return ArrayLayer(values, Colours(), Cache(tmp_path / "cache"))


def records(method, layer, units):
    """Descriptions without their times."""
    return {
        d.unit.index: (d.text, d.status, d.score, d.candidates, d.evidence)
        for d in method.describe(layer, units)
    }


def test_the_description_is_the_most_similar_concept(layer, encoder, values):
    alive = [u for u in range(UNITS) if u not in (DEAD, NOT_FINITE)]
    cosines = encoder._images @ encoder._texts.T
    scores = soft_wpmi(values[:, alive], cosines).scores
    described = records(CLIPDissect(encoder, WORDS), layer, alive)
    for row, unit in enumerate(alive):
        text, status, score, candidates, evidence = described[unit]
        assert (text, status) == (WORDS.words[scores[row].argmax()], "ok")
        assert score == pytest.approx(scores[row].max(), abs=1e-4)
        assert [c.text for c in candidates] == [WORDS.words[i] for i in np.argsort(-scores[row])]
        best, second = sorted(scores[row])[:-3:-1]
        assert evidence["margin"] == pytest.approx(best - second, abs=1e-4)


def test_a_dead_unit_gets_no_description(layer, encoder):
    (description,) = CLIPDissect(encoder, WORDS).describe(layer, [DEAD])
    assert (description.text, description.status, description.score) == (None, "dead", None)


def test_a_unit_with_values_that_are_not_finite_fails_with_the_reason(layer, encoder):
    (description,) = CLIPDissect(encoder, WORDS).describe(layer, [NOT_FINITE])
    assert description.status == "failed"
    assert "not all finite" in description.evidence["reason"]


@pytest.mark.numerics
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_description_does_not_depend_on_the_units_asked_for(encoder, values, tmp_path, similarity):
    def fresh(name):
        return ArrayLayer(values, Colours(), Cache(tmp_path / name))

    method = CLIPDissect(encoder, WORDS, similarity)
    whole = records(method, fresh("whole"), range(UNITS))
    assert records(method, fresh("some"), [7, 1]) == {unit: whole[unit] for unit in (7, 1)}
    assert list(whole) == list(range(UNITS))


def test_nothing_is_embedded_or_compared_twice(layer, encoder, monkeypatch):
    first = records(CLIPDissect(encoder, WORDS), layer, [0, 1])
    assert (encoder.images, encoder.texts) == (IMAGES, len(WORDS))
    again = CLIPDissect(encoder, WORDS)
    monkeypatch.setitem(SIMILARITIES, "soft_wpmi", lambda *a, **k: pytest.fail("compared again"))
    assert records(again, layer, [1, 0]) == first
    assert (encoder.images, encoder.texts) == (IMAGES, len(WORDS))


def test_an_interrupted_embedding_resumes_at_the_last_shard(layer, encoder, monkeypatch):
    from dissectbench.harness.foundation import embeddings

    monkeypatch.setattr(embeddings, "_IMAGES_PER_SHARD", 40)
    image = Colours.image

    def interrupted(self, index):
        if index == 100:
            raise KeyboardInterrupt
        return image(self, index)

    monkeypatch.setattr(Colours, "image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embeddings.image_embeddings(encoder, layer.probe, layer.cache)
    monkeypatch.setattr(Colours, "image", image)
    rows = embeddings.image_embeddings(encoder, layer.probe, layer.cache)
    np.testing.assert_array_equal(rows, encoder._images)
    assert encoder.images == IMAGES


def test_the_identity_contains_encoder_concepts_and_settings(layer, encoder):
    def identity(*arguments, **settings):
        return fingerprint(CLIPDissect(*arguments, **settings).identity())

    fewer = ConceptSet("colours", WORDS.words[:5])
    identities = [
        identity(encoder, WORDS),
        identity(RandomEncoder(1), WORDS),
        identity(encoder, fewer),
        identity(encoder, WORDS, "wpmi"),
        identity(encoder, WORDS, top_k=50),
        identity(encoder, WORDS, variant="official"),
        identity(encoder, WORDS, prior_population=[0, 1]),
        identity(encoder, WORDS, keep_candidates=3),
    ]
    assert len(set(identities)) == len(identities)
    assert identity(encoder, WORDS, top_k=100) == identities[0]
    assert identity(encoder, WORDS, seed=5) == identities[0]
    assert identity(encoder, WORDS, "rank_reorder", seed=5) != identity(encoder, WORDS, "rank_reorder")


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, UNITS - 2),
        ({"variant": "official"}, UNITS - 1),
        ({"prior_population": "layer"}, UNITS - 1),
        ({"prior_population": [0, 1, NOT_FINITE]}, 2),
    ],
)
def test_the_population_of_the_prior_is_recorded(layer, encoder, values, settings, size):
    method = CLIPDissect(encoder, WORDS, **settings)
    (description,) = method.describe(layer, [1])
    assert description.evidence["population"]["size"] == size
    units = method._population(layer, np.arange(UNITS) != NOT_FINITE)
    expected = soft_wpmi(
        np.nan_to_num(values), encoder._images @ encoder._texts.T, population=units.tolist()
    )
    assert description.score == pytest.approx(expected.scores[1].max(), abs=1e-4)


def test_the_official_order_is_estimated_and_seeded(layer, encoder):
    def scores(**settings):
        described = records(CLIPDissect(encoder, WORDS, "rank_reorder", **settings), layer, [0])
        return described[0][2]

    official = scores(variant="official", seed=1)
    assert official == scores(variant="official", seed=1)
    assert len({official, scores(variant="official", seed=2), scores()}) == 3
    assert scores(seed=1) == scores(seed=2)


def test_a_unit_without_an_order_fails_in_rank_reorder(encoder, values, tmp_path):
    values[:, 0] = np.arange(IMAGES) >= 100
    layer = ArrayLayer(values, Colours(), Cache(tmp_path))
    (description,) = CLIPDissect(encoder, WORDS, "rank_reorder").describe(layer, [0])
    assert description.status == "failed"
    assert "equally active" in description.evidence["reason"]


@pytest.mark.parametrize("similarity", ["soft_wpmi", "wpmi"])
@pytest.mark.parametrize("copies", [1, 3])
def test_a_unit_for_which_all_concepts_tie_is_undecided(encoder, values, tmp_path, similarity, copies):
    # Equal units are their own prior, so that with prior_weight=1 all scores are 0, up to rounding.
    layer = ArrayLayer(np.repeat(values[:, :1], copies, axis=1), Colours(), Cache(tmp_path))
    method = CLIPDissect(encoder, WORDS, similarity, prior_weight=1.0, inverse_temperature=30.0)
    for description in method.describe(layer, range(copies)):
        assert (description.text, description.status, description.candidates) == (None, "failed", ())
        assert "all concepts have the same score" in description.evidence["reason"]
        assert ("prior_population" in description.evidence["reason"]) == (copies == 1)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equal_embeddings_of_all_concepts_leave_every_unit_undecided(layer, encoder, similarity):
    encoder._texts[:] = encoder._texts[0]
    (description,) = CLIPDissect(encoder, WORDS, similarity).describe(layer, [1])
    assert description.status == "failed"
    assert "all concepts have the same score" in description.evidence["reason"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 151}, r"top_k=151 is more than the 150 images.*\+method\.clip_dissect\.top_k=150"),
        ({"similarity": "rank_reorder", "top_fraction": 0.01}, r"top_fraction=0\.01 .* two of the 150"),
    ],
)
def test_too_few_images_fail_the_units_and_name_the_setting(layer, encoder, settings, message):
    failed, dead = CLIPDissect(encoder, WORDS, **settings).describe(layer, [0, DEAD])
    assert (failed.status, dead.status) == ("failed", "dead")
    assert re.search(message, failed.evidence["reason"])
    assert encoder.images == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["_images", "_texts"])
def test_embeddings_that_are_not_finite_are_refused(layer, encoder, value, which):
    getattr(encoder, which)[2, 3] = value
    with pytest.raises(InputError, match=r"(?s)cosines .* not finite.*random embeddings"):
        list(CLIPDissect(encoder, WORDS).describe(layer, [0]))


def test_the_record_contains_settings_and_exemplars(layer, encoder, values):
    (description,) = CLIPDissect(encoder, WORDS, keep_candidates=3, inverse_temperature=5.0).describe(
        layer, [2]
    )
    assert len(description.candidates) == 3
    assert description.evidence["similarity"] == "soft_wpmi"
    assert description.evidence["parameters"]["inverse_temperature"] == 5.0
    assert description.evidence["parameters"]["top_k"] == 100
    assert (description.evidence["images"], description.evidence["concepts"]) == (IMAGES, len(WORDS))
    assert description.evidence["exemplars"] == np.argsort(-values[:, 2], kind="stable")[:10].tolist()
    assert type(description).from_json(description.to_json()).text == description.text


def test_a_single_candidate_has_a_margin(layer, encoder):
    (description,) = CLIPDissect(encoder, WORDS, keep_candidates=1).describe(layer, [2])
    assert len(description.candidates) == 1
    assert description.evidence["margin"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"similarity": "softwpmi"}, "similarity is 'softwpmi'"),
        ({"variant": "original"}, "variant is 'original'"),
        ({"prior_population": "all"}, "prior_population is 'all'"),
        ({"keep_candidates": 0}, "keep_candidates must be at least 1"),
        ({"topk": 5}, r"(?s)no parameter 'topk'.*did you mean top_k"),
        ({"similarity": "cos_similarity", "power": 1}, "no parameter 'power'"),
        ({"baseline": "exact", "similarity": "rank_reorder"}, "no parameter 'baseline'"),
    ],
)
def test_a_wrong_setting_is_named_when_the_method_is_made(encoder, settings, message):
    with pytest.raises(InputError, match=message):
        CLIPDissect(encoder, WORDS, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior_population": [0, 99]}, "must list units of layer, 0 to 7"),
        ({"prior_population": [NOT_FINITE]}, "at least one unit"),
        ({"first_membership": 1.5}, "first_membership=1.5"),
    ],
)
def test_a_setting_that_does_not_fit_the_layer_is_named(layer, encoder, settings, message):
    with pytest.raises(InputError, match=message):
        list(CLIPDissect(encoder, WORDS, **settings).describe(layer, [0]))


def test_a_concept_set_of_one_word_is_refused(encoder):
    with pytest.raises(InputError, match="fewer than two concepts"):
        CLIPDissect(encoder, ConceptSet("one", ("red",)))


def test_the_configuration_builds_the_method():
    from pathlib import Path

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    groups = Path(next(iter(conf.__path__)))
    words = {"_target_": "dissectbench.datasets.concepts.from_words", "words": ["a", "b"], "name": "two"}
    config = OmegaConf.create({"concepts": words, "seed": 3, "device": "cpu"})
    config.encoder = OmegaConf.load(groups / "encoder" / "clip_vit_b16.yaml")
    config.method = OmegaConf.load(groups / "method" / "clip_dissect.yaml")
    config.method.clip_dissect.prior_population = [0, 1]
    config.method.clip_dissect.top_k = 50
    method = instantiate(config.method.clip_dissect)
    assert isinstance(method, CLIPDissect)
    assert (method.seed, method.prior_population, method.parameters["top_k"]) == (3, [0, 1], 50)
    assert method.models() == {"image-text model": "ViT-B-16-quickgelu/openai"}
