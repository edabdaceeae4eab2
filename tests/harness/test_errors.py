"""Errors that a user sees."""

import pickle

import pytest

from dissectbench.harness.errors import InputError, UnreadableImageError, one_of


def test_an_error_comes_out_of_a_worker_process_as_it_went_in():
    error = pickle.loads(pickle.dumps(UnreadableImageError("a/b.jpg", "truncated")))
    assert (error.path, error.reason) == ("a/b.jpg", "truncated")
    assert str(error) == str(UnreadableImageError("a/b.jpg", "truncated"))


def test_the_hint_stands_on_a_line_of_its_own():
    assert str(InputError("wrong", "mend it")) == "wrong\n  mend it"


def test_the_hint_comes_out_of_a_worker_process_too():
    assert str(pickle.loads(pickle.dumps(InputError("wrong", "mend it")))) == "wrong\n  mend it"


def test_one_of_returns_a_known_value():
    assert one_of("method.variant", "paper", ("paper", "official")) == "paper"
    assert one_of("activations.keep_maps", None, (None, "float16")) is None


def test_one_of_names_the_setting_the_nearest_value_and_all_values():
    with pytest.raises(InputError) as caught:
        one_of("method.variant", "offical", ("paper", "official", "lite"))
    assert str(caught.value) == (
        "method.variant is 'offical'\n  did you mean official? use paper, official or lite"
    )


def test_one_of_refuses_values_that_cannot_be_hashed():
    with pytest.raises(InputError, match=r"method\.variant is \['paper'\]"):
        one_of("method.variant", ["paper"], {"paper": 1})
