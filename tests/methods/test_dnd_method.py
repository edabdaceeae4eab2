"""Describe-and-Dissect as a whole, with images of coloured squares and small stand-ins for all models."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.caption_cache import image_digest
from dissectbench.harness.foundation.image_generators import seed_for
from dissectbench.harness.foundation.key_phrases import KeyPhrases
from dissectbench.harness.foundation.protocols import Reply
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.dnd.describe_and_dissect import DescribeAndDissect
from dissectbench.methods.dnd.selection import SCORING_FUNCTIONS
from dissectbench.methods.dnd.settings import (
    CandidateSettings,
    ExemplarSettings,
    LabelSettings,
    ScoringSettings,
    SyntheticImageSettings,
)

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
NAMES = tuple(COLOURS)
UNITS, DEAD, IMAGES, SIDE, CELLS = 6, 4, 48, 32, 8
# Each unit responds to one colour and is inhibited by the others; one is dead, the last has two colours.
WEIGHTS = np.array([[2, -1, -1], [-1, 2, -1], [-1, -1, 2], [1, 1, 1], [0, 0, 0], [1, 1, -1]], float)


def square(colour, seed, most=20):
    """An image of one coloured square at a random position, on a dark background with noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(10, 60, (SIDE, SIDE, 3))
    side = rng.integers(8, most)
    left, top = rng.integers(0, SIDE - side, 2)
    pixels[top : top + side, left : left + side] = colour
    return Image.fromarray(pixels.astype(np.uint8))


def maps_of(image):
    """The target: every unit's map of an image, [units, cells, cells]."""
    small = np.asarray(image.resize((CELLS, CELLS), Image.Resampling.BOX), float) / 255
    return np.maximum(small @ WEIGHTS.T, 0).transpose(2, 0, 1).astype(np.float32)


class Squares(ProbingSet):
    name = "squares"

    def __len__(self):
        return IMAGES

    def image(self, index):
        return square(COLOURS[NAMES[index % len(NAMES)]], index)

    def locate(self, index):
        return f"square-{index}"

    def fingerprint(self):
        return "squares"


class Network(ArrayLayer):
    """A layer whose target responds to new images; records the batch sizes."""

    def __init__(self, cache, *, flat=False):
        probe = Squares()
        maps = np.stack([maps_of(probe.image(i)) for i in range(IMAGES)])
        super().__init__(maps.mean(axis=(2, 3)) if flat else maps, probe, cache)
        self.batches = []

    def respond(self, images):
        self.batches.append(len(images))
        return np.stack([maps_of(image).mean(axis=(1, 2)) for image in images])


class Logged:
    """Records its requests in a list or file, and kills its process at request number `dies_at`."""

    def __init__(self, name, log=None, dies_at=None):
        self.name, self.requests, self._log, self._left = name, [], log, dies_at

    def fingerprint(self):
        return self.name

    def note(self, request):
        self._left = None if self._left is None else self._left - 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.requests.append(request)
        if self._log:
            with self._log.open("a") as file:
                file.write(json.dumps([self.name, request]) + "\n")


def colours_of(image):
    """Counts the colours of the bright pixels."""
    pixels = np.asarray(image.convert("RGB"), int).reshape(-1, 3)
    bright = pixels[pixels.max(axis=1) > 200]
    return Counter(NAMES[np.abs(np.array(list(COLOURS.values())) - p).sum(1).argmin()] for p in bright)


class Captioner(Logged):
    batch_size = 4

    def caption(self, images):
        captions = []
        for image in images:
            digest = image_digest(image)
            self.note(digest)
            colour = colours_of(image).most_common(1)
            captions.append(f"there is a {colour[0][0]} square near {digest[:6]}" if colour else "")
        return captions


class Generator(Logged):
    def generate(self, prompts, seeds):
        for prompt, seed in zip(prompts, seeds, strict=True):
            self.note([prompt, seed])
            colours = [COLOURS[word] for word in prompt.split() if word in COLOURS]
            yield square(colours[0] if colours else (90, 90, 90), seed, 30)


class Encoder(Logged):
    def encode_images(self, images):
        rows = np.stack([np.asarray(i.convert("RGB"), np.float32).mean((0, 1)) + 1 for i in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts):
        rows = np.array([[*COLOURS[t.split()[0]], 1.0] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class LanguageModel(Logged):
    """Answers every request with `answer(captions, sample)`."""

    account = max_tokens = None

    def __init__(self, answer, **logged):
        super().__init__("language model", **logged)
        self.answer = answer

    def reply(self, conversations, sample=0):
        for index, turns in enumerate(conversations):
            captions = [line[2:] for line in turns[-1].content.splitlines() if line.startswith("- ")]
            self.note([captions, sample])
            yield index, Reply(self.answer(captions, sample), cost_usd=0.25)


def either(captions, sample):
    """Answers with the first caption; for several captions, in about half of the cases wrongly."""
    words = captions[0].removeprefix("there is a ")
    if len(captions) == 1:
        return words
    return words.split(" near ")[0] if captions[0] < captions[1] else "green square"


GROUPS: dict[str, tuple[type, dict[str, Any]]] = {
    "exemplars": (ExemplarSettings, {"count": 5, "crops": "off"}),
    "candidates": (CandidateSettings, {}),
    "synthetic_images": (SyntheticImageSettings, {"count": 4}),
    "scoring": (ScoringSettings, {}),
    "labels": (LabelSettings, {}),
}


def with_models(*models: Any, **settings: Any) -> Any:
    """The method with given models; settings of a group are given as a dict."""
    groups = {
        name: group(**defaults | settings.pop(name, {})) for name, (group, defaults) in GROUPS.items()
    }
    return DescribeAndDissect(*models, **groups, **settings)


def method(language_model=None, **settings) -> Any:
    models = Captioner("captioner"), language_model or KeyPhrases()
    return with_models(*models, Generator("generator"), Encoder("encoder"), **settings)


@pytest.fixture
def layer(tmp_path):
    return Network(Cache(tmp_path / "cache"))


def records(method, layer, units=tuple(range(UNITS))):
    return {d.unit.index: d.to_json() for d in method.describe(layer, units)}


def test_units_are_described_by_the_colour_they_respond_to(layer):
    descriptions = list(method(exemplars={"crops": "attention"}).describe(layer, range(UNITS)))
    assert [d.text for d in descriptions[:4]] == [
        "red square",
        "green square",
        "blue square",
        "white square",
    ]
    assert [d.status for d in descriptions] == ["ok"] * 4 + ["dead"] + ["ok"]
    assert all(d.seconds > 0 for d in descriptions if d.status == "ok")


def test_no_model_is_called_for_a_dead_unit(layer):
    dissect = method()
    (description,) = dissect.describe(layer, [DEAD])
    assert (description.text, description.status, description.evidence) == (None, "dead", {})
    assert layer.batches == dissect.captioner.requests == []


def test_the_candidate_whose_images_the_unit_responds_to_is_selected(layer):
    replies = iter(["green square", "blue square", "red square", "white square", "grey thing"])
    model = LanguageModel(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (description,) = method(model).describe(layer, [0])
    proposed = [a["label"] for a in description.evidence["summaries"]]
    assert proposed[0] == "green square"
    assert description.text == description.candidates[0].text == "red square"
    assert (
        description.score
        == description.candidates[0].score
        == max(c.score for c in description.candidates)
    )
    assert description.cost_usd == pytest.approx(0.25 * len(model.requests))


def test_the_evidence_contains_images_captions_replies_and_seeds(layer):
    (description,) = method(exemplars={"crops": "attention"}).describe(layer, [0])
    record = json.loads(description.to_json())["evidence"]
    whole = [one for one in record["images"] if one["box"] is None]
    assert {one["image"] for one in whole} == set(layer.exemplars(0, 5).indices.tolist())
    assert any(one["box"] for one in record["images"])
    responses = [one["response"] for one in record["images"]]
    assert responses == sorted(responses, reverse=True)
    assert ["caption" in one for one in record["images"]] == [True] * 5 + [False] * (len(responses) - 5)
    assert record["captions"] == [one["caption"] for one in record["images"][:5]]
    assert record["summaries"][0]["tries"][0]["reply"] == "red square"
    best = description.candidates[0]
    assert best.details["seeds"] == [seed_for(best.text, i, 0) for i in range(4)]
    assert len(best.details["ranks"]) == 4


@pytest.mark.numerics
def test_a_description_depends_neither_on_blocks_nor_on_the_other_units(tmp_path):
    def fresh(name):
        return Network(Cache(tmp_path / name))

    together = records(method(), fresh("together"))
    assert records(method(block=2), fresh("blocks")) == together
    assert records(method(block=1), fresh("single"), [5, 3, 0])[3] == together[3]
    assert list(records(method(), fresh("order"), [5, 0])) == [5, 0]


def test_the_requests_of_a_block_are_made_together_and_once(layer):
    dissect = method()
    list(dissect.describe(layer, range(UNITS)))
    assert len(layer.batches) == 1  # synthetic images; the exemplars' responses are stored
    prompts = dissect.synthetic_images.generator.requests
    assert len(prompts) == len({tuple(p) for p in prompts})
    assert len(dissect.captioner.requests) == len(set(dissect.captioner.requests))


def test_images_in_memory_do_not_grow_with_the_candidates(layer, monkeypatch):
    monkeypatch.setattr("dissectbench.methods.dnd.synthetic._IMAGES_IN_MEMORY", 8)
    described = records(method(), layer)
    assert max(layer.batches[1:]) == 8
    monkeypatch.undo()
    assert records(method(), layer) == described


def test_a_second_run_calls_no_model(layer):
    first, second = method(LanguageModel(either)), method(LanguageModel(either))
    assert records(first, layer) == records(second, layer)

    def requests(dissect):
        models = dissect.captioner, dissect.language_model, dissect.synthetic_images.generator
        return [model.requests for model in models]

    assert all(requests(first))
    assert requests(second) == [[], [], []]
    assert all(d.cost_usd == 0 for d in method(LanguageModel(either)).describe(layer, range(UNITS)))


@pytest.mark.slow
def test_a_run_killed_at_any_step_repeats_no_finished_request(tmp_path):
    def run(name, dies=""):
        command = [sys.executable, __file__, str(tmp_path / name), dies]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr
        return done.stdout

    # Captions are stored batch by batch, so the captioner is killed at the beginning of a batch.
    for dies in ("captioner:5", "language model:9", "generator:7"):
        run("killed", dies)
    assert run("killed") == run("whole")
    logs = [(tmp_path / name / "log").read_text().splitlines() for name in ("killed", "whole")]
    assert sorted(logs[0]) == sorted(logs[1])
    assert len(set(logs[0])) == len(logs[0])


@pytest.mark.parametrize("flat", [False, True])
def test_without_crops_only_whole_images_are_captioned(tmp_path, flat):
    layer = Network(Cache(tmp_path), flat=flat)
    crops = "attention" if flat else "off"
    descriptions = list(method(exemplars={"crops": crops}).describe(layer, [0, 1, 2]))
    assert [d.text for d in descriptions] == ["red square", "green square", "blue square"]
    assert all(one["box"] is None for d in descriptions for one in d.evidence["images"])


def test_without_scoring_the_first_candidate_is_the_description(layer):
    model = LanguageModel(lambda captions, _: captions[0] if len(captions) == 1 else "first thing")
    dissect = method(model, scoring={"enabled": False})
    (description,) = dissect.describe(layer, [0])
    assert (description.text, description.score) == ("first thing", None)
    assert dissect.synthetic_images.generator.requests == []
    assert set(dissect.models()) == {"captioner", "language model"}


def test_without_a_language_model_captions_are_the_candidates(layer):
    dissect = with_models(Captioner("captioner"), None, Generator("generator"), Encoder("encoder"))
    (description,) = dissect.describe(layer, [1])
    assert description.text.startswith("there is a green square near")
    assert {c.text for c in description.candidates} == set(description.evidence["captions"])
    assert dissect.expected_calls(7) is None


@pytest.mark.parametrize("function", SCORING_FUNCTIONS)
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_every_scoring_function_finds_the_colour(layer, function, variant):
    replies = iter(["green square", "red square", "blue square", "blue thing", "green thing"])
    model = LanguageModel(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (description,) = method(model, scoring={"function": function}, variant=variant).describe(layer, [0])
    assert description.text == "red square"
    assert description.score == description.candidates[0].details[function]


def test_several_labels_are_kept_if_they_differ(layer):
    replies = iter(["red square", "red box", "blue square", "red thing", "green square"])
    model = LanguageModel(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (description,) = method(model, labels={"count": 3}).describe(layer, [0])
    parts = description.text.split("; ")
    assert parts[0] == description.candidates[0].text
    assert sorted(part.split()[0] for part in parts) == ["blue", "green", "red"]


def test_candidates_beyond_the_limit_are_left_out_and_recorded(layer):
    replies = iter(["red square", "blue square", "green square", "white square", "white box"])
    model = LanguageModel(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (description,) = method(model, candidates={"max_candidates": 2}).describe(layer, [0])
    assert {c.text for c in description.candidates} == {"red square", "blue square"}
    assert description.evidence["left_out"] == ["green square", "white square", "white box"]


def test_a_unit_whose_response_is_not_finite_does_not_affect_the_others(layer):
    layer.values = layer.values.copy()
    layer.values[3, 1] = np.inf
    descriptions = {d.unit.index: d for d in method().describe(layer, [0, 1, 2])}
    assert [descriptions[u].status for u in (0, 1, 2)] == ["ok", "failed", "ok"]
    assert "not all finite" in descriptions[1].evidence["reason"]


def test_a_unit_that_fails_in_a_step_keeps_the_evidence_of_earlier_steps(layer):
    class Failing(Generator):
        def generate(self, prompts, seeds):
            for prompt, image in zip(prompts, super().generate(prompts, seeds), strict=True):
                if "blue" in prompt:
                    raise RuntimeError("cannot generate blue")
                yield image

    dissect = with_models(Captioner("c"), KeyPhrases(), Failing("failing"), Encoder("encoder"))
    descriptions = {d.unit.index: d for d in dissect.describe(layer, [0, 1, 2, 3])}
    assert [descriptions[u].status for u in (0, 1, 2, 3)] == ["ok", "ok", "failed", "ok"]
    assert descriptions[2].evidence["reason"] == "RuntimeError: cannot generate blue"
    assert descriptions[2].evidence["summaries"][0]["label"] == "blue square"


def test_a_model_that_always_refuses_gives_a_failed_record_with_its_replies(layer):
    (description,) = method(LanguageModel(lambda *_: "I'm sorry, I can't help with that.")).describe(
        layer, [0]
    )
    assert (description.status, description.text) == ("failed", None)
    assert description.evidence["reason"] == "no candidate: the reply names no concept"
    assert len(description.evidence["summaries"][0]["tries"]) == 3
    assert description.cost_usd > 0


def test_images_without_captions_give_a_failed_record(layer):
    dissect = method()
    dissect.captioner.caption = lambda images: [""] * len(images)
    (description,) = dissect.describe(layer, [0])
    assert description.evidence["reason"] == "the captioner has no caption for its images"


def test_an_error_of_the_user_ends_the_run(layer):
    def refused(captions, sample):
        raise InputError("the key is wrong")

    with pytest.raises(InputError, match="the key is wrong"):
        list(method(LanguageModel(refused)).describe(layer, range(UNITS)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scoring": {"function": "topk_mean"}}, "did you mean topk_sq_mean"),
        ({"exemplars": {"crops": "attentoin"}}, "did you mean attention"),
        ({"variant": "offical"}, "did you mean official"),
        ({"block": 0}, "block must be at least 1"),
        ({"exemplars": {"count": 0}}, r"exemplars\.count must be at least 1"),
        ({"candidates": {"tries": 0}}, r"candidates\.tries must be at least 1"),
        ({"scoring": {"top_images": 0}}, r"scoring\.top_images must be at least 1"),
        ({"labels": {"count": 0}}, r"labels\.count must be at least 1"),
        ({"synthetic_images": {"size": [64]}}, r"size must be \[width,height\]"),
        ({"synthetic_images": {"format": "jpeg"}}, "use png or webp"),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_valid_value(setting, message):
    with pytest.raises(InputError, match=message):
        method(**setting)


def test_the_identity_contains_what_the_descriptions_depend_on():
    unchanged = json.dumps(method().identity(), sort_keys=True)
    changes = [
        {"exemplars": {"count": 6}},
        {"exemplars": {"crops": "official"}},
        {"candidates": {"summaries": 4}},
        {"candidates": {"max_candidates": 4}},
        {"scoring": {"function": "mean"}},
        {"scoring": {"top_k": 3}},
        {"scoring": {"enabled": False}},
        {"synthetic_images": {"size": [8, 8]}},
        {"labels": {"count": 3}},
        {"variant": "official"},
        {"seed": 1},
    ]
    changed = {json.dumps(method(**change).identity(), sort_keys=True) for change in changes}
    assert unchanged not in changed
    assert len(changed) == len(changes)
    assert json.dumps(method(block=3).identity(), sort_keys=True) == unchanged


def test_the_expected_calls_are_those_made_without_cached_replies(layer):
    model = LanguageModel(lambda captions, _: f"thing {len(model.requests)}")
    list(method(model).describe(layer, [0]))
    expected = method(model).expected_calls(1)
    assert (expected.calls, expected.cost_usd) == (10, 0)
    assert (
        with_models(Captioner("c"), KeyPhrases(), Generator("g"), Encoder("e")).expected_calls(1) is None
    )
    assert len(model.requests) <= expected.calls


def main(folder, dies):
    """Describes all units with stand-ins that log to `folder`, one of which may kill the process."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    victim, _, at = dies.partition(":")

    def logged(name):
        return {"log": folder / "log", "dies_at": int(at) if name == victim else None}

    dissect = with_models(
        Captioner("captioner", **logged("captioner")),
        LanguageModel(either, **logged("language model")),
        Generator("generator", **logged("generator")),
        Encoder("encoder"),
        block=3,
    )
    for description in dissect.describe(Network(Cache(folder / "cache")), range(UNITS)):
        sys.stdout.write(description.to_json() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
