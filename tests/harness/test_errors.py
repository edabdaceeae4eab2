"""Errors that a user sees."""

import pickle

from dissectbench.harness.errors import InputError, UnreadableImageError


def test_an_error_comes_out_of_a_worker_process_as_it_went_in():
    error = pickle.loads(pickle.dumps(UnreadableImageError("a/b.jpg", "truncated")))
    assert (error.path, error.reason) == ("a/b.jpg", "truncated")
    assert str(error) == str(UnreadableImageError("a/b.jpg", "truncated"))


def test_the_hint_stands_on_a_line_of_its_own():
    assert str(InputError("wrong", "mend it")) == "wrong\n  mend it"


def test_the_hint_comes_out_of_a_worker_process_too():
    assert str(pickle.loads(pickle.dumps(InputError("wrong", "mend it")))) == "wrong\n  mend it"
