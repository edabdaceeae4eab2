"""Settings of the pass: defaults, ranges and types."""

import math

import pytest

from dissectbench.harness.activations import ActivationSettings
from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool", "sum"),
        ("pool", None),
        ("on_error", "fail"),
        ("keep_maps", "float32"),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("batch_size", "64"),
        ("workers", -1),
        ("quantile_tail", 0),
        ("quantile_tail", 1.5),
        ("quantile_tail", math.nan),
        ("quantile_tail", "all"),
        ("tail_budget_gb", -1),
        ("tail_budget_gb", math.inf),
        ("map_budget_gb", math.nan),
        ("map_budget_gb", None),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_name(name, value):
    with pytest.raises(InputError) as caught:
        ActivationSettings(**{name: value})
    assert caught.value.message == f"activations.{name} is {value!r}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 1),
        ("workers", 4),
        ("quantile_tail", 1),
        ("tail_budget_gb", 0),
        ("map_budget_gb", 2),
        ("keep_maps", "float16"),
        ("pool", "max"),
        ("on_error", "skip"),
    ],
)
def test_values_at_the_ends_of_the_range_are_accepted(name, value):
    assert getattr(ActivationSettings(**{name: value}), name) == value


def test_the_configuration_has_the_defaults_of_the_class():
    assert build(compose().config.activations, "activations") == ActivationSettings()


def test_a_wrong_value_in_the_configuration_is_named():
    node = compose(["activations.batch_size=none"]).config.activations
    with pytest.raises(InputError, match=r"^activations\.batch_size is 'none'"):
        build(node, "activations")
