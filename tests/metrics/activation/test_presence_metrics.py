"""Descriptions are scored on activations: known units, controls, reasons, independent pairs."""

import numpy as np
import pytest
from memory_images import ImageArray

from dissectbench.datasets.held_out import hold_out
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.records import UnitId
from dissectbench.metrics.activation import Annotated, PresenceMetric, Simulated, score_on_activations
from dissectbench.metrics.activation.presence import plain
from dissectbench.metrics.unscored import Prediction

IMAGES, CLASSES = 90, ("red", "green", "blue")


class OneHotEncoder:
    """Embeds an image of one colour, and the name of the colour, as the same vector."""

    name = "one-hot"

    def fingerprint(self):
        return "one-hot"

    def encode_images(self, images):
        means = np.array([np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images])
        return (means == means.max(axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts):
        return np.array([[float(name in text) for name in CLASSES] for text in texts], np.float32)


@pytest.fixture
def layer(tmp_path):
    labels = np.arange(IMAGES) % 3
    pixels = np.zeros((IMAGES, 3, 4, 4), np.uint8)
    pixels[np.arange(IMAGES), labels] = 200
    probe = ImageArray(pixels)
    probe.classes, probe.labels = CLASSES, labels
    random = np.random.default_rng(0)
    values = random.uniform(0, 0.1, (IMAGES, 4)).astype(np.float32)
    for unit in range(3):
        values[labels == unit, unit] += 1
    values[:, 3] = 0.5
    return ArrayLayer(values, probe, Cache(tmp_path))


def predictions(*texts):
    units = (UnitId("arrays", "layer", index) for index in range(4))
    return [
        Prediction(unit, "words", text, "missing" if text is None else "ok")
        for unit, text in zip(units, texts, strict=True)
    ]


PRESENCES = {"simulation": Simulated(OneHotEncoder()), "annotation": Annotated()}


@pytest.mark.parametrize("presence", PRESENCES.values(), ids=PRESENCES)
@pytest.mark.parametrize("measure", ["correlation", "auprc"])
def test_a_true_description_wins_over_another_units(layer, presence, measure):
    metric = PresenceMetric(presence, measure, top=1 / 3)
    frame = score_on_activations(
        predictions("red", "green", "blue", None), layer, [metric], control_text="a dog"
    )
    assert set(frame["metric"]) == {f"{presence.name}_{measure}"}
    scores = frame.set_index(["method", "unit"])["score"].to_dict()
    for unit in range(3):
        assert scores["words", unit] > 0.99
        assert scores["shuffled: words", unit] < 0.5


def test_a_unit_without_a_score_says_why(layer):
    metric = PresenceMetric(Annotated())
    frame = score_on_activations(
        predictions("red", "a dog", None, "blue"), layer, [metric], control_text="red"
    )
    words = frame[frame["method"] == "words"].set_index("unit")["reason"]
    assert list(words) == [None, "no label of this name", "missing", "unit constant on these images"]


def test_scores_do_not_depend_on_the_other_pairs(layer):
    metric = PresenceMetric(Simulated(OneHotEncoder(), scale=58, shift=-0.13), "correlation")
    pairs = [(unit, f"{text} {number}") for unit in range(3) for text in CLASSES for number in range(30)]
    together = metric.score(layer, pairs).values
    alone = [metric.score(layer, [pair]).values[0] for pair in pairs]
    np.testing.assert_array_equal(together, alone)


def test_metrics_of_one_encoder_embed_every_text_once(layer):
    embedded = []

    class Counting(OneHotEncoder):
        def encode_texts(self, texts):
            embedded.extend(texts)
            return super().encode_texts(texts)

    metrics = [PresenceMetric(Simulated(Counting()), measure) for measure in ("correlation", "auprc")]
    score_on_activations(predictions("red", "green", "blue", None), layer, metrics, control_text="a dog")
    assert sorted(embedded) == ["a dog", "blue", "green", "red"]


def test_a_measure_of_thresholds_needs_a_probability():
    with pytest.raises(InputError, match="presence is a cosine"):
        PresenceMetric(Simulated(OneHotEncoder()), "f1")


def test_a_text_is_a_label_without_case_and_article():
    assert plain("The  Traffic_light") == plain("traffic light")


def test_held_out_images_are_disjoint_stratified_and_seeded(layer):
    seen, held_out = hold_out(layer.probe, 0.4, seed=0)
    assert sorted([*seen.indices, *held_out.indices]) == list(range(IMAGES))
    assert held_out.labels is not None
    assert np.bincount(held_out.labels).tolist() == [12, 12, 12]
    np.testing.assert_array_equal(held_out.indices, hold_out(layer.probe, 0.4, seed=0)[1].indices)
    assert hold_out(layer.probe, 0.4, seed=1)[1].indices.tolist() != held_out.indices.tolist()
    with pytest.raises(InputError, match="held_out"):
        hold_out(layer.probe, 0.001, seed=0)
