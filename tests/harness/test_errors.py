"""Tests the exceptions that are shown to users."""

import pickle

import pytest

from dissectbench.harness.errors import InputError, UnreadableImageError, one_of


def test_an_error_is_unchanged_by_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImageError("a/b.jpg", "truncated")))
    assert (error.path, error.reason) == ("a/b.jpg", "truncated")
    assert str(error) == str(UnreadableImageError("a/b.jpg", "truncated"))


def test_the_hint_is_on_a_separate_line():
    assert str(InputError("wrong", "fix it")) == "wrong\n  fix it"


def test_the_hint_is_kept_by_pickling():
    assert str(pickle.loads(pickle.dumps(InputError("wrong", "fix it")))) == "wrong\n  fix it"


def test_one_of_returns_a_known_value():
    assert one_of("method.variant", "paper", ("paper", "official")) == "paper"
    assert one_of("activations.keep_maps", None, (None, "float16")) is None


def test_the_message_of_one_of_has_the_setting_the_nearest_value_and_all_values():
    with pytest.raises(InputError) as caught:
        one_of("method.variant", "offical", ("paper", "official", "lite"))
    assert str(caught.value) == (
        "method.variant is 'offical'\n  did you mean official? use paper, official or lite"
    )


def test_one_of_refuses_values_that_cannot_be_hashed():
    with pytest.raises(InputError, match=r"method\.variant is \['paper'\]"):
        one_of("method.variant", ["paper"], {"paper": 1})
