"""Candidate concepts: requests, retries, orders, normalisation."""

import json
from collections import Counter

import pytest
from chat_server import ChatServer, completion
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.cache import Cache
from dissectbench.harness.foundation.chat_settings import ChatServer as ChatSettings
from dissectbench.harness.foundation.key_phrases import KeyPhrases
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.pricing import Prices
from dissectbench.harness.foundation.protocols import Message, Reply
from dissectbench.harness.foundation.reply_cache import CachedLanguageModel
from dissectbench.harness.records import UnitId
from dissectbench.methods.dnd import prompts
from dissectbench.methods.dnd.candidates import caption_orders, normalise_candidates, propose
from dissectbench.methods.dnd.expected_calls import expected_calls

CAPTIONS = ["a red boat", "a red car at night", "a dog", "a red boat on the sea"]


def unit(index):
    return UnitId("net", "layer4", index)


def captions_in(conversation):
    lines = conversation[-1].content.splitlines()
    return [line.removeprefix("- ") for line in lines if line.startswith("- ")]


class Scripted:
    """Answers by a function of (conversation, sample), in reverse order; records the requests."""

    name = "scripted"
    account = max_tokens = None

    def __init__(self, answer):
        self.answer, self.batches = answer, []

    def fingerprint(self):
        return "scripted"

    def reply(self, conversations, sample=0):
        self.batches.append([list(turns) for turns in conversations])
        for index in reversed(range(len(conversations))):
            answer = self.answer(conversations[index], sample)
            yield index, answer if isinstance(answer, Reply) else Reply(answer, cost_usd=0.5)


def first_caption(conversation, sample):
    return captions_in(conversation)[0]


def test_the_requests_of_all_units_in_a_stage_are_sent_together():
    model = Scripted(first_caption)
    propose({unit(i): CAPTIONS for i in range(3)}, model)
    assert [len(batch) for batch in model.batches] == [12, 15]


def test_summaries_use_simplified_captions_and_the_first_one_their_order():
    model = Scripted(lambda turns, _: " and ".join(w.split()[-1] for w in captions_in(turns)))
    proposal = propose({unit(0): CAPTIONS}, model)[unit(0)]
    lists = [captions_in(turns) for turns in model.batches[1]]
    assert lists[0] == ["boat", "night", "dog", "sea"]
    assert all(sorted(order) == sorted(lists[0]) for order in lists)
    assert len({tuple(order) for order in lists}) > 1
    assert [lists[0][i] for i in proposal.orders[1]] == lists[1]
    assert proposal.candidates[0] == "boat and night and dog and sea"
    assert proposal.cost_usd == pytest.approx(0.5 * (4 + 5))


def test_a_unit_does_not_depend_on_the_others():
    model = Scripted(first_caption)
    alone = propose({unit(3): CAPTIONS}, model)[unit(3)]
    among = propose({unit(1): CAPTIONS[::-1], unit(3): CAPTIONS, unit(5): []}, model)[unit(3)]
    assert alone == among


def test_orders_depend_on_unit_and_seed():
    assert caption_orders(unit(0), 10, 5, 0) == caption_orders(unit(0), 10, 5, 0)
    assert caption_orders(unit(0), 10, 5, 0)[:3] == caption_orders(unit(0), 10, 3, 0)
    assert caption_orders(unit(0), 10, 5, 0) != caption_orders(unit(1), 10, 5, 0)
    assert caption_orders(unit(0), 10, 5, 0) != caption_orders(unit(0), 10, 5, 1)
    assert caption_orders(unit(0), 0, 5, 0) == ()


def test_an_unusable_reply_is_requested_again_with_the_reason():
    model = Scripted(lambda turns, sample: "things" if sample else "word " * 20)
    proposal = propose({unit(0): CAPTIONS}, model, summaries=1)[unit(0)]
    retry = model.batches[-1][0]
    assert retry[-2] == Message("assistant", "word " * 20)
    assert "the reply repeats itself" in retry[-1].content
    assert [attempt.problem for attempt in proposal.summaries[0].tries] == [
        "the reply repeats itself",
        None,
    ]
    assert proposal.candidates == ("things",)


def test_a_long_reply_is_cut_in_the_evidence_and_when_it_is_sent_back():
    model = Scripted(lambda turns, _: "word " * 20_000 if len(turns[-1].content) else "")
    proposal = propose({unit(0): ["long " * 20_000]}, model, summaries=1, tries=2)[unit(0)]
    evidence = proposal.evidence()
    cut = " ... [98000 more characters]"
    for text in (evidence["captions"][0], evidence["summaries"][0]["tries"][0]["reply"]):
        assert len(text) == 2000 + len(cut)
        assert text.endswith(cut)
    assert len(model.batches[1][0][-2].content) == 2000 + len(cut)
    assert len(json.dumps(evidence)) < 12_000


def test_a_candidate_that_fails_in_all_tries_has_the_reasons():
    def answer(conversation, sample):
        return Reply(None, "refused") if len(captions_in(conversation)) > 1 else "thing"

    model = Scripted(answer)
    proposal = propose({unit(0): CAPTIONS}, model, summaries=2, tries=3)[unit(0)]
    assert proposal.candidates == ()
    assert [[t.problem for t in answer.tries] for answer in proposal.summaries] == [["refused"] * 3] * 2
    assert [len(batch) for batch in model.batches] == [4, 2, 2, 2]
    assert all(turns[-1].content.startswith("Below") for turns in model.batches[3])  # nothing to quote


def test_a_caption_that_cannot_be_simplified_is_used_unchanged():
    model = Scripted(lambda turns, _: "" if captions_in(turns) == ["a dog"] else first_caption(turns, 0))
    proposal = propose({unit(0): CAPTIONS}, model)[unit(0)]
    assert proposal.simplified[2].label is None
    assert "a dog" in captions_in(model.batches[3][0])


def test_without_a_language_model_the_captions_are_the_candidates():
    proposal = propose({unit(0): ["A dog.", "a  dog", "Blue design"]}, None)[unit(0)]
    assert proposal.candidates == ("a dog", "blue design", "blue design background")
    assert proposal.cost_usd == 0


def test_a_unit_without_captions_has_no_candidates_and_costs_nothing():
    model = Scripted(first_caption)
    assert propose({unit(0): []}, model)[unit(0)].candidates == ()
    assert model.batches == []


def test_the_evidence_is_json_and_the_same_when_replies_come_from_the_cache(tmp_path):
    runs = []
    for _ in range(2):
        model = Scripted(first_caption)
        proposal = propose({unit(0): CAPTIONS}, CachedLanguageModel(model, Cache(tmp_path)))[unit(0)]
        runs.append((json.dumps(proposal.evidence()), proposal.cost_usd, len(model.batches)))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] > 0
    assert runs[1][1:] == (0, 0)


def test_key_phrases_propose_what_captions_share():
    captions = ["a red boat on the sea", "a dotted red boat", "a red boat at night", "a windmill"]
    assert propose({unit(0): captions}, KeyPhrases())[unit(0)].candidates == ("red boat",)
    mixed = ["a boat on the sea", "a house in a meadow"] * 2
    assert len(propose({unit(0): mixed}, KeyPhrases())[unit(0)].candidates) > 1


@pytest.mark.parametrize("settings", [{"summaries": 0}, {"tries": 0}])
def test_settings_below_one_are_refused(settings):
    with pytest.raises(ValueError, match="at least 1"):
        propose({}, None, **settings)


def test_candidates_are_normalised_in_a_stable_order():
    labels = [
        "Red Boats.",
        "graphic designs",
        "red  boats",
        "Sea",
        " ",
        ".",
        "Designs on cars",
        "pop graphic",
    ]
    assert normalise_candidates(labels) == (
        "red boats",
        "graphic designs",
        "graphic designs background",
        "sea",
        "designs on cars",
        "pop graphic",
        "pop graphic background",
    )


@given(st.lists(st.text()))
def test_normalised_candidates_are_distinct_and_not_empty(labels):
    candidates = normalise_candidates(labels)
    assert len(set(candidates)) == len(candidates)
    assert all(candidates)


def test_prompts_contain_the_examples_and_then_one_caption_per_line():
    turns = prompts.summarise(["a dog", "a cat,\nsleeping {captions}"])
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[-1].content.endswith("- a dog\n- a cat, sleeping {captions}")
    assert "{captions}" not in prompts.simplify("a dog")[-1].content
    assert len(captions_in(turns[:1])) == len(captions_in(turns[:3])) == 5
    assert [turn.role for turn in prompts.simplify("a dog")] == ["user", "assistant", "user"]
    with pytest.raises(TypeError, match="list of strings"):
        prompts.summarise("a dog")


def test_the_prompts_have_a_fingerprint(monkeypatch):
    before = prompts.prompts_fingerprint()
    monkeypatch.setattr(prompts, "_template", lambda name: (Message("user", "other"),))
    assert prompts.prompts_fingerprint() != before


def test_the_expected_calls_are_those_that_are_made():
    model = Scripted(first_caption)
    distinct = {unit(i): [f"{c} {i}" for c in CAPTIONS] for i in range(3)}
    propose(distinct, model, summaries=2)
    expected = expected_calls(3, images=4, summaries=2, prices=Prices(1, 1))
    assert expected.calls == sum(map(len, model.batches)) == 18
    assert expected.cost_usd is not None
    assert expected.most_usd is not None
    assert 0 < expected.cost_usd < expected.most_usd
    assert expected_calls(3).most_usd is None


def test_a_second_run_sends_nothing_to_the_server(tmp_path):
    requests: Counter[str] = Counter()

    def first_of(body, headers):
        del headers
        text = body["messages"][-1]["content"]
        requests[text] += 1
        return completion(captions_in([Message("user", text)])[0])

    server = ChatServer(first_of)
    with server.listening():
        captions = {unit(i): [f"{caption} {i}" for caption in CAPTIONS] for i in range(4)}
        runs = []
        for _ in range(2):
            model = OpenAIChat("tiny", ChatSettings(server.url, timeout=10))
            runs.append(propose(captions, CachedLanguageModel(model, Cache(tmp_path))))
    assert runs[0] == runs[1]
    assert runs[0][unit(2)].candidates[0] == "a red boat 2"
    assert set(requests.values()) == {1}
