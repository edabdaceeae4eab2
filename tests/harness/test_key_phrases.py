"""The offline stand-in for a language model."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.foundation.key_phrases import KeyPhrases, shared_phrases, shortened
from dissectbench.harness.foundation.protocols import LanguageModel, Message


def asked(*captions):
    return [
        Message("user", "an example\n\n- a lemon\n- a sunflower"),
        Message("assistant", "yellow things"),
        Message("user", "Name it.\n\n" + "\n".join(f"- {caption}" for caption in captions)),
    ]


def said(*captions):
    [(_, reply)] = KeyPhrases().reply([asked(*captions)])
    return reply


@pytest.mark.parametrize(
    ("caption", "short"),
    [
        ("a red boat on the sea", "red boat on sea"),
        ("A red wall with a red wall and a red wall.", "red wall"),
        ("there is a dog in the grass", "dog in grass"),
        ("a close up of a cat's eye", "cat's eye"),
        ("a picture of", ""),
        ("grill grill grill grill", "grill"),
        ("", ""),
    ],
)
def test_one_caption_is_shortened(caption, short):
    assert shortened(caption) == short


@pytest.mark.parametrize(
    ("captions", "phrase"),
    [
        (["a red boat on the sea", "two red boats at night", "a windmill"], "red boat"),
        (["a red house", "a red car", "a red bird in the night", "a blue fish"], "red"),
        (["a dog in the grass", "a brown dog on green grass", "the beach"], "dog & grass"),
        (["a cat", "a dog"], "cat"),
        (["a dog", "a cat"], "dog"),
        (["the", "a picture of"], ""),
    ],
)
def test_of_several_the_most_shared_phrase_is_named(captions, phrase):
    assert " & ".join(shared_phrases(captions)) == phrase


def test_the_order_of_the_captions_decides_between_equals():
    boats, houses = ["a boat on the sea"] * 2, ["a house in a meadow"] * 2
    assert shared_phrases([*boats, *houses]) == ["boat", "sea"]
    assert shared_phrases([*houses, *boats]) == ["house", "meadow"]


def test_of_two_shared_phrases_it_names_now_one_now_both_but_the_same_to_the_same_request():
    captions = [f"a {colour} boat on the sea" for colour in ("red", "blue", "green", "white")]
    orders = list(permutations(captions))
    named = [said(*order).text for order in orders]
    assert set(named) == {"boat and sea", "boat", "sea"}
    assert named == [said(*order).text for order in orders]


def test_only_the_last_turn_counts():
    assert said("a red boat on the sea").text == "red boat on sea"
    assert said().failure == "no caption was asked about"


def test_what_it_cannot_answer_is_a_failure():
    assert said("the of a").failure == "the captions hold no words to choose from"
    [(_, reply)] = KeyPhrases().reply([[Message("user", "How are you?")]])
    assert reply.failure == "no caption was asked about"


def test_it_is_a_language_model_and_says_that_it_is_none():
    assert isinstance(KeyPhrases(), LanguageModel)
    assert KeyPhrases.name == "key phrases (no language model)"
    assert KeyPhrases().fingerprint() == KeyPhrases().fingerprint()


@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_captions_get_words_of_theirs_or_a_failure(captions):
    reply = said(*captions)
    assert (reply.text is None) != (reply.failure is None)
    if reply.text is not None:
        everything = " ".join(captions).lower()
        assert all(word in everything for word in reply.text.split() if word != "and")
