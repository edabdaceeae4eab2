"""Parsing of labels from replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.methods.dnd.parsing import MAX_CHARACTERS, parse_label

USABLE = {
    "red boats": "red boats",
    '"Red boats."': "Red boats",
    "“red boats”": "red boats",
    '"red boats': "red boats",
    "'red boats'.": "red boats",
    "dog's ears": "dog's ears",
    "1. red boats": "red boats",
    "2) red boats": "red boats",
    "1) red boats\n2) blue boats": "red boats",
    "- **red boats**": "red boats",
    "• red boats": "red boats",
    "### red boats": "red boats",
    "```\nred boats\n```": "red boats",
    "`red boats`": "red boats",
    "*red* boats": "red boats",
    "Label: red boats": "red boats",
    '**Concept label:** "red boats".': "red boats",
    'The label is "red boats".': "red boats",
    "The concept that most of them share is: red boats": "red boats",
    "Sure! Here is the label: red boats": "red boats",
    'Sure!\n"Red boats"': "Red boats",
    "Okay, red boats": "red boats",
    "Here is a concise label:\n\nred boats": "red boats",
    "Label:\nred boats": "red boats",
    "Here is my label:\n- boats\n- cars": "boats",
    "Most captions show boats.\nLabel: boats": "boats",
    "Red boats\n\nExplanation of the label: most captions show them.": "Red boats",
    "Based on the descriptions, the most fitting label is: red boats": "red boats",
    "<think>boats? or cars?\n</think>\n\nred boats": "red boats",
    "red boats</s>": "red boats",
    "red boats<|im_end|>": "red boats",
    "red\u00a0boats\u200b": "red boats",
    # parts of a label are kept
    "red: boats": "red: boats",
    "boats, red and blue": "boats, red and blue",
    "time 3:30": "time 3:30",
    "5 dogs": "5 dogs",
    "text labels are red": "text labels are red",
    "title page": "title page",
    "okay signs": "okay signs",
    "no smoking signs": "no smoking signs",
    "unknown objects": "unknown objects",
    "I beams": "I beams",
}
UNUSABLE = {
    "": "the reply is empty",
    " \n\t ": "the reply is empty",
    "***": "the reply has no words",
    "...": "the reply has no words",
    "<think>boats": "the reply ends within a thought",
    "I'm sorry, but I can't help with that.": "the reply names no concept",
    "I cannot find a concept": "the reply names no concept",
    "As an AI language model, I see nothing.": "the reply names no concept",
    "Unfortunately, these differ.": "the reply names no concept",
    "There is no common concept": "the reply names no concept",
    "Please provide the captions": "the reply names no concept",
    "None.": "the reply names no concept",
    'Label: "N/A"': "the reply names no concept",
    "one two three four five six seven eight nine": "the reply has 9 words, more than 8",
    "plastic pald pald pald": "the reply repeats itself",
    "a" * 101: "the reply has 101 characters, more than 100",
}


@pytest.mark.parametrize(("reply", "label"), USABLE.items())
def test_a_label_is_found_within_other_text(reply, label):
    parsed = parse_label(reply)
    assert (parsed.label, parsed.problem) == (label, None)


@pytest.mark.parametrize(("reply", "problem"), UNUSABLE.items())
def test_an_unusable_reply_has_a_reason(reply, problem):
    parsed = parse_label(reply)
    assert (parsed.label, parsed.problem) == (None, problem)


def test_no_reply_and_a_lower_limit():
    assert parse_label(None).problem == "the reply is empty"
    assert parse_label("one two three", max_words=2).problem == "the reply has 3 words, more than 2"


PIECES = st.sampled_from(
    [
        "Label:",
        "1.",
        "- ",
        '"',
        "**",
        "`",
        "\n",
        "red",
        "boats",
        ".",
        ":",
        "(",
        ")",
        "Sure!",
        "<think>",
        "\u2028",
    ]
)


@given(st.text() | st.lists(PIECES).map("".join) | st.lists(PIECES).map(" ".join))
def test_any_reply_gives_one_line_of_words_or_a_problem(reply):
    parsed = parse_label(reply)
    assert (parsed.label is None) != (parsed.problem is None)
    if parsed.label is not None:
        assert parsed.label == " ".join(parsed.label.split())
        assert len(parsed.label.splitlines()) == 1
        assert any(character.isalnum() for character in parsed.label)
        assert len(parsed.label.split()) <= 8
        assert len(parsed.label) <= MAX_CHARACTERS


@given(
    st.lists(
        st.sampled_from(["red", "boats", "sea", "night", "dotted"]), min_size=1, max_size=8, unique=True
    )
)
def test_plain_labels_are_unchanged(words):
    assert parse_label(" ".join(words)).label == " ".join(words)
