"""The rules that replace a language model offline."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.foundation.key_phrases import KeyPhrases, shared_phrases, shortened
from dissectbench.harness.foundation.protocols import LanguageModel, Message


def request(*captions):
    return [
        Message("user", "an example\n\n- a lemon\n- a sunflower"),
        Message("assistant", "yellow things"),
        Message("user", "Name it.\n\n" + "\n".join(f"- {caption}" for caption in captions)),
    ]


def reply_to(*captions):
    [(_, reply)] = KeyPhrases().reply([request(*captions)])
    return reply


@pytest.mark.parametrize(
    ("caption", "expected"),
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
def test_a_single_caption_is_shortened(caption, expected):
    assert shortened(caption) == expected


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
def test_the_most_frequent_phrase_of_several_captions_is_returned(captions, phrase):
    assert " & ".join(shared_phrases(captions)) == phrase


def test_the_order_of_the_captions_breaks_ties():
    boats, houses = ["a boat on the sea"] * 2, ["a house in a meadow"] * 2
    assert shared_phrases([*boats, *houses]) == ["boat", "sea"]
    assert shared_phrases([*houses, *boats]) == ["house", "meadow"]


def test_one_or_both_of_two_shared_phrases_are_returned_reproducibly():
    captions = [f"a {colour} boat on the sea" for colour in ("red", "blue", "green", "white")]
    orders = list(permutations(captions))
    replies = [reply_to(*order).text for order in orders]
    assert set(replies) == {"boat and sea", "boat", "sea"}
    assert replies == [reply_to(*order).text for order in orders]


def test_only_the_last_turn_counts():
    assert reply_to("a red boat on the sea").text == "red boat on sea"
    assert reply_to().failure == "the request contains no caption"


def test_a_request_without_usable_words_or_captions_is_a_failure():
    assert reply_to("the of a").failure == "the captions contain no usable words"
    [(_, reply)] = KeyPhrases().reply([[Message("user", "How are you?")]])
    assert reply.failure == "the request contains no caption"


def test_it_implements_the_protocol_and_its_name_says_what_it_is():
    assert isinstance(KeyPhrases(), LanguageModel)
    assert KeyPhrases.name == "key phrases (no language model)"
    assert KeyPhrases().fingerprint() == KeyPhrases().fingerprint()


@given(st.lists(st.text(max_size=60), max_size=6))
def test_a_reply_has_only_words_of_the_captions(captions):
    reply = reply_to(*captions)
    assert (reply.text is None) != (reply.failure is None)
    if reply.text is not None:
        all_captions = " ".join(captions).lower()
        assert all(word in all_captions for word in reply.text.split() if word != "and")
