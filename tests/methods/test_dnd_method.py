"""Describe-and-Dissect as a whole, in a world of coloured squares that small stand-ins understand."""

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
from dissectbench.methods.dnd.selection import SCORINGS

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
NAMES = tuple(COLOURS)
UNITS, DEAD, IMAGES, SIDE, CELLS = 6, 4, 48, 32, 8
# Each unit looks for a colour and shuns the others; one is dead, the last one takes two colours.
LOOKS = np.array([[2, -1, -1], [-1, 2, -1], [-1, -1, 2], [1, 1, 1], [0, 0, 0], [1, 1, -1]], float)


def square(colour, seed, most=20):
    """A square of one colour somewhere on a dark, slightly noisy ground."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(10, 60, (SIDE, SIDE, 3))
    side = rng.integers(8, most)
    left, top = rng.integers(0, SIDE - side, 2)
    pixels[top : top + side, left : left + side] = colour
    return Image.fromarray(pixels.astype(np.uint8))


def maps_of(picture):
    """The network: every unit's map, [units, cells, cells]."""
    small = np.asarray(picture.resize((CELLS, CELLS), Image.Resampling.BOX), float) / 255
    return np.maximum(small @ LOOKS.T, 0).transpose(2, 0, 1).astype(np.float32)


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
    """A layer whose target can be shown new images; counts them."""

    def __init__(self, cache, *, flat=False):
        probe = Squares()
        maps = np.stack([maps_of(probe.image(i)) for i in range(IMAGES)])
        super().__init__(maps.mean(axis=(2, 3)) if flat else maps, probe, cache)
        self.batches = []

    def respond(self, images):
        self.batches.append(len(images))
        return np.stack([maps_of(image).mean(axis=(1, 2)) for image in images])


class Logged:
    """Counts what it is asked in a list or file, and ends its process without notice when told to."""

    def __init__(self, name, log=None, dies_at=None):
        self.name, self.asked, self._log, self._left = name, [], log, dies_at

    def fingerprint(self):
        return self.name

    def note(self, what):
        self._left = None if self._left is None else self._left - 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked.append(what)
        if self._log:
            with self._log.open("a") as file:
                file.write(json.dumps([self.name, what]) + "\n")


def colour_of(picture):
    """The colour that most of the bright pixels have."""
    pixels = np.asarray(picture.convert("RGB"), int).reshape(-1, 3)
    bright = pixels[pixels.max(axis=1) > 200]
    return Counter(NAMES[np.abs(np.array(list(COLOURS.values())) - p).sum(1).argmin()] for p in bright)


class Captioner(Logged):
    batch_size = 4

    def caption(self, images):
        said = []
        for image in images:
            name = image_digest(image)
            self.note(name)
            found = colour_of(image).most_common(1)
            said.append(f"there is a {found[0][0]} square near {name[:6]}" if found else "")
        return said


class Painter(Logged):
    def generate(self, prompts, seeds):
        for prompt, seed in zip(prompts, seeds, strict=True):
            self.note([prompt, seed])
            named = [COLOURS[word] for word in prompt.split() if word in COLOURS]
            yield square(named[0] if named else (90, 90, 90), seed, 30)


class Eye(Logged):
    def encode_images(self, images):
        rows = np.stack([np.asarray(i.convert("RGB"), np.float32).mean((0, 1)) + 1 for i in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts):
        rows = np.array([[*COLOURS[t.split()[0]], 1.0] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Talker(Logged):
    """Says something to every request by `answer(captions, number of the sample)`."""

    account = max_tokens = None

    def __init__(self, answer, **logged):
        super().__init__("talker", **logged)
        self.answer = answer

    def reply(self, conversations, sample=0):
        for index, turns in enumerate(conversations):
            captions = [line[2:] for line in turns[-1].content.splitlines() if line.startswith("- ")]
            self.note([captions, sample])
            yield index, Reply(self.answer(captions, sample), cost_usd=0.25)


def either(captions, sample):
    """Says what it is told; of several captions, every other time, something wrong."""
    words = captions[0].removeprefix("there is a ")
    if len(captions) == 1:
        return words
    return words.split(" near ")[0] if captions[0] < captions[1] else "green square"


def dissecting(*parts: Any, **settings: Any) -> Any:
    return DescribeAndDissect(*parts, **settings)


def method(language_model=None, **settings) -> Any:
    parts = Captioner("captioner"), language_model or KeyPhrases(), Painter("painter"), Eye("eye")
    return dissecting(*parts, **{"images": 5, "images_per_candidate": 4, "crops": "off", **settings})


@pytest.fixture
def layer(tmp_path):
    return Network(Cache(tmp_path / "cache"))


def answers(method, layer, units=tuple(range(UNITS))):
    return {d.unit.index: d.to_json() for d in method.describe(layer, units)}


def test_units_are_described_by_what_they_look_for(layer):
    found = list(method(crops="attention").describe(layer, range(UNITS)))
    assert [d.text for d in found[:4]] == ["red square", "green square", "blue square", "white square"]
    assert [d.status for d in found] == ["ok"] * 4 + ["dead"] + ["ok"]
    assert all(d.seconds > 0 for d in found if d.status == "ok")


def test_a_dead_unit_is_asked_nothing_about(layer):
    dissect = method()
    (found,) = dissect.describe(layer, [DEAD])
    assert (found.text, found.status, found.evidence) == (None, "dead", {})
    assert layer.batches == dissect.captioner.asked == []


def test_the_candidate_whose_images_the_unit_responds_to_wins(layer):
    replies = iter(["green square", "blue square", "red square", "white square", "grey thing"])
    talker = Talker(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (found,) = method(talker).describe(layer, [0])
    proposed = [a["label"] for a in found.evidence["summaries"]]
    assert proposed[0] == "green square"
    assert found.text == found.candidates[0].text == "red square"
    assert found.score == found.candidates[0].score == max(c.score for c in found.candidates)
    assert found.cost_usd == pytest.approx(0.25 * len(talker.asked))


def test_evidence_says_what_led_to_the_description(layer):
    (found,) = method(crops="attention").describe(layer, [0])
    record = json.loads(found.to_json())["evidence"]
    whole = [one for one in record["images"] if one["box"] is None]
    assert {one["image"] for one in whole} == set(layer.exemplars(0, 5).indices.tolist())
    assert any(one["box"] for one in record["images"])
    responses = [one["response"] for one in record["images"]]
    assert responses == sorted(responses, reverse=True)
    assert ["caption" in one for one in record["images"]] == [True] * 5 + [False] * (len(responses) - 5)
    assert record["captions"] == [one["caption"] for one in record["images"][:5]]
    assert record["summaries"][0]["tries"][0]["reply"] == "red square"
    best = found.candidates[0]
    assert best.details["seeds"] == [seed_for(best.text, i, 0) for i in range(4)]
    assert len(best.details["ranks"]) == 4


@pytest.mark.numerics
def test_a_description_depends_neither_on_blocks_nor_on_the_other_units(tmp_path):
    def fresh(name):
        return Network(Cache(tmp_path / name))

    together = answers(method(), fresh("together"))
    assert answers(method(block=2), fresh("blocks")) == together
    assert answers(method(block=1), fresh("single"), [5, 3, 0])[3] == together[3]
    assert list(answers(method(), fresh("order"), [5, 0])) == [5, 0]


def test_everything_of_a_block_goes_together(layer):
    dissect = method()
    list(dissect.describe(layer, range(UNITS)))
    assert len(layer.batches) == 2  # exemplars and crops, then synthetic images
    prompts = dissect.studio.generator.asked
    assert len(prompts) == len({tuple(p) for p in prompts})
    assert len(dissect.captioner.asked) == len(set(dissect.captioner.asked))


def test_pictures_in_memory_do_not_grow_with_the_candidates(layer, monkeypatch):
    monkeypatch.setattr("dissectbench.methods.dnd.synthetic._AT_ONCE", 8)
    found = answers(method(), layer)
    assert max(layer.batches[1:]) == 8
    monkeypatch.undo()
    assert answers(method(), layer) == found


def test_a_second_time_nothing_is_asked_again(layer):
    first, second = method(Talker(either)), method(Talker(either))
    assert answers(first, layer) == answers(second, layer)
    assert all([first.captioner.asked, first.language_model.asked, first.studio.generator.asked])
    assert second.captioner.asked == second.language_model.asked == second.studio.generator.asked == []
    assert all(d.cost_usd == 0 for d in method(Talker(either)).describe(layer, range(UNITS)))


@pytest.mark.slow
def test_killed_at_any_step_and_started_again_nothing_finished_is_asked_again(tmp_path):
    def run(name, dies=""):
        command = [sys.executable, __file__, str(tmp_path / name), dies]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr
        return done.stdout

    # A caption of a batch that did not end is not finished: the captioner dies at a batch's beginning.
    for dies in ("captioner:5", "talker:9", "painter:7"):
        run("killed", dies)
    assert run("killed") == run("whole")
    logs = [(tmp_path / name / "log").read_text().splitlines() for name in ("killed", "whole")]
    assert sorted(logs[0]) == sorted(logs[1])
    assert len(set(logs[0])) == len(logs[0])


@pytest.mark.parametrize("flat", [False, True])
def test_without_crops_only_whole_images_are_captioned(tmp_path, flat):
    layer = Network(Cache(tmp_path), flat=flat)
    found = list(method(crops="attention" if flat else "off").describe(layer, [0, 1, 2]))
    assert [d.text for d in found] == ["red square", "green square", "blue square"]
    assert all(one["box"] is None for d in found for one in d.evidence["images"])


def test_without_selection_the_first_candidate_stands_and_nothing_is_drawn(layer):
    talker = Talker(lambda captions, _: captions[0] if len(captions) == 1 else "first thing")
    dissect = method(talker, selection=False)
    (found,) = dissect.describe(layer, [0])
    assert (found.text, found.score) == ("first thing", None)
    assert dissect.studio.generator.asked == []
    assert set(dissect.models()) == {"captioner", "language model"}


def test_without_a_language_model_captions_are_the_candidates(layer):
    dissect = dissecting(
        Captioner("captioner"), None, Painter("painter"), Eye("eye"), images=5, crops="off"
    )
    (found,) = dissect.describe(layer, [1])
    assert found.text.startswith("there is a green square near")
    assert {c.text for c in found.candidates} == set(found.evidence["captions"])
    assert dissect.expected_calls(7) is None


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_every_scoring_function_finds_the_colour(layer, scoring, variant):
    replies = iter(["green square", "red square", "blue square", "blue thing", "green thing"])
    talker = Talker(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (found,) = method(talker, scoring=scoring, variant=variant).describe(layer, [0])
    assert found.text == "red square"
    assert found.score == found.candidates[0].details[scoring]


def test_several_labels_are_kept_where_they_differ(layer):
    replies = iter(["red square", "red box", "blue square", "red thing", "green square"])
    talker = Talker(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (found,) = method(talker, labels=3).describe(layer, [0])
    parts = found.text.split("; ")
    assert parts[0] == found.candidates[0].text
    assert sorted(part.split()[0] for part in parts) == ["blue", "green", "red"]


def test_candidates_beyond_the_limit_are_left_out_and_recorded(layer):
    replies = iter(["red square", "blue square", "green square", "white square", "white box"])
    talker = Talker(lambda captions, _: captions[0] if len(captions) == 1 else next(replies))
    (found,) = method(talker, max_candidates=2).describe(layer, [0])
    assert {c.text for c in found.candidates} == {"red square", "blue square"}
    assert found.evidence["left_out"] == ["green square", "white square", "white box"]


def test_a_unit_whose_response_is_not_finite_fails_alone(layer):
    layer.values = layer.values.copy()
    layer.values[3, 1] = np.inf
    found = {d.unit.index: d for d in method().describe(layer, [0, 1, 2])}
    assert [found[u].status for u in (0, 1, 2)] == ["ok", "failed", "ok"]
    assert "not all finite" in found[1].evidence["reason"]


def test_a_unit_that_breaks_a_step_fails_alone_and_keeps_what_was_known(layer):
    class Torn(Painter):
        def generate(self, prompts, seeds):
            for prompt, picture in zip(prompts, super().generate(prompts, seeds), strict=True):
                if "blue" in prompt:
                    raise RuntimeError("no blue paint")
                yield picture

    dissect = dissecting(Captioner("c"), KeyPhrases(), Torn("torn"), Eye("eye"), images=5, crops="off")
    found = {d.unit.index: d for d in dissect.describe(layer, [0, 1, 2, 3])}
    assert [found[u].status for u in (0, 1, 2, 3)] == ["ok", "ok", "failed", "ok"]
    assert found[2].evidence["reason"] == "RuntimeError: no blue paint"
    assert found[2].evidence["summaries"][0]["label"] == "blue square"


def test_refusals_throughout_make_a_failed_record_with_the_replies(layer):
    (found,) = method(Talker(lambda *_: "I'm sorry, I can't help with that.")).describe(layer, [0])
    assert (found.status, found.text) == ("failed", None)
    assert found.evidence["reason"] == "no candidate could be had: the reply names no concept"
    assert len(found.evidence["summaries"][0]["tries"]) == 3
    assert found.cost_usd > 0


def test_images_nobody_can_caption_make_a_failed_record(layer):
    dissect = method()
    dissect.captioner.caption = lambda images: [""] * len(images)
    (found,) = dissect.describe(layer, [0])
    assert found.evidence["reason"] == "the captioner says nothing of its images"


def test_what_the_user_has_to_mend_ends_the_run(layer):
    def broke(captions, sample):
        raise InputError("the key is wrong")

    with pytest.raises(InputError, match="the key is wrong"):
        list(method(Talker(broke)).describe(layer, range(UNITS)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scoring": "topk_mean"}, "did you mean topk_sq_mean"),
        ({"crops": "attentoin"}, "did you mean attention"),
        ({"variant": "offical"}, "did you mean official"),
        ({"images": 0}, "images must be at least 1"),
        ({"image_size": [64]}, "no size"),
        ({"image_format": "jpeg"}, "use png or webp"),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_right_one(setting, message):
    with pytest.raises(InputError, match=message):
        method(**setting)


def test_identity_holds_what_the_answers_depend_on():
    known = json.dumps(method().identity(), sort_keys=True)
    changes = [{"images": 6}, {"crops": "official"}, {"summaries": 4}, {"scoring": "mean"}, {"seed": 1}]
    changes += [{"labels": 3}, {"variant": "official"}, {"selection": False}, {"image_size": [8, 8]}]
    others = {json.dumps(method(**change).identity(), sort_keys=True) for change in changes}
    assert known not in others
    assert len(others) == len(changes)
    assert json.dumps(method(block=3).identity(), sort_keys=True) == known


def test_the_expected_calls_are_those_made_where_nothing_is_known(layer):
    talker = Talker(lambda captions, _: f"thing {len(talker.asked)}")
    list(method(talker).describe(layer, [0]))
    expected = method(talker).expected_calls(1)
    assert (expected.calls, expected.cost_usd) == (10, 0)
    assert len(talker.asked) <= expected.calls


def main(folder, dies):
    """Describes all units with stand-ins that log to `folder`, one of which may die."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    victim, _, at = dies.partition(":")

    def logged(name):
        return {"log": folder / "log", "dies_at": int(at) if name == victim else None}

    dissect = dissecting(
        Captioner("captioner", **logged("captioner")),
        Talker(either, **logged("talker")),
        Painter("painter", **logged("painter")),
        Eye("eye"),
        images=5,
        images_per_candidate=4,
        crops="off",
        block=3,
    )
    for description in dissect.describe(Network(Cache(folder / "cache")), range(UNITS)):
        sys.stdout.write(description.to_json() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
