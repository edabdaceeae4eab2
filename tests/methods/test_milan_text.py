"""Tests the tokenizer, and BLEU against its definition."""

import math

import pytest

from dissectbench.methods.milan.tokenizer import tokenize
from dissectbench.methods.milan.training.bleu import corpus_bleu


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
def test_texts_are_split_into_words(text, words):
    assert tokenize(text) == words.split()


def bleu(prediction, *references):
    return corpus_bleu([prediction.split()], [[text.split() for text in references]])


def test_bleu_follows_its_definition():
    assert bleu("a b c d e", "a b c d e") == pytest.approx(1)
    assert bleu("x y", "a b") == 0
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu("a b c d x e", "a b c d e f") == pytest.approx(expected)
    # a word counts at most as often as in the reference with the most occurrences
    assert bleu("the the the the", "the the cat sat") == pytest.approx(
        (2 / 4 * 1 / 3 * 0.5 / 2 * 0.25) ** 0.25
    )
    # the brevity penalty compares with the closest reference, the shorter of two that are equally close
    assert bleu("a b c d", "a b c d e f g h") == pytest.approx(math.exp(1 - 8 / 4))
    assert bleu("a b c d", "a b c d e f g h", "a b c d e") == pytest.approx(math.exp(1 - 5 / 4))
    assert bleu("a b c d", "a b c", "a b c d e") == pytest.approx(1)
    with pytest.raises(ValueError, match="without references"):
        corpus_bleu([["a"]], [[]])


def test_bleu_is_counted_over_all_captions():
    one, two = list("abcde"), list("abxyz")
    both = corpus_bleu([one, two], [[one], [one]])
    assert both == pytest.approx((7 / 10 * 5 / 8 * 3 / 6 * 2 / 4) ** 0.25)
