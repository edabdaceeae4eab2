"""Every setting has a type and a range, and a wrong value is refused before any work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import pytest
from annotated_types import Ge, Le, MinLen
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.cli import main
from dissectbench.harness.config import build
from dissectbench.harness.errors import InputError
from dissectbench.harness.setting_types import check_node, check_value, in_words

Count: TypeAlias = Annotated[int, Ge(1)]
FRACTION = Annotated[float, Ge(0), Le(1)]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, int),
        (3, float),  # YAML has no way to write 3.0 other than that
        (None, int | None),
        ("mean", Literal["mean", "max"]),
        ([1, 2], tuple[int, int]),
        ([1, 2], Sequence[int]),
        ([], list[int] | None),
        ({"a": 1}, Mapping[str, int]),
        ("a/b", str | Path),
        (0.0, FRACTION),
        (3, type("Encoder", (), {})),  # what a class accepts is its own affair
    ],
)
def test_values_of_the_right_type_are_accepted(value, hint):
    check_value("node.setting", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "use"),
    [
        ("3", int, "use an integer"),
        (True, int, "use an integer"),
        (1.5, int, "use an integer"),
        (True, float, "use a number"),
        (float("nan"), float, "use a number"),
        (float("inf"), float | None, "use a number, or null"),
        ("median", Literal["mean", "max"], "use one of mean, max"),
        ([1, 2, 3], tuple[int, int], "use a list of 2 values (an integer, an integer)"),
        ([1, "b"], Sequence[int], "use a list (an integer)"),
        (0, Count | None, "use an integer of at least 1, or null"),
        (2, FRACTION, "use a number of at least 0 and of at most 1"),
        ("", Annotated[str, MinLen(1)], "use text with at least 1 entries"),
        (None, str, "use text"),
    ],
)
def test_other_values_are_refused_with_what_to_use(value, hint, use):
    with pytest.raises(InputError, match=r"node\.setting is") as caught:
        check_value("node.setting", value, hint)
    assert use in str(caught.value)


@given(st.integers() | st.booleans() | st.text() | st.floats() | st.none())
def test_an_integer_setting_accepts_exactly_the_integers(value):
    if type(value) is int:
        check_value("node.setting", value, int)
    else:
        with pytest.raises(InputError):
            check_value("node.setting", value, int)


def test_alternatives_are_named_once():
    assert in_words(int | float | None) == "an integer, or a number, or null"


def component(count: int, encoder: "Undefined" = None, seed: int = 0, **_: object) -> int:  # noqa: F821  # pyright: ignore
    return count


COMPONENT = {"_target_": f"{__name__}.component"}


def test_settings_of_nested_nodes_are_checked_under_their_full_name():
    check_node("method.a", {**COMPONENT, "count": 1, "encoder": {**COMPONENT, "count": 2}})
    with pytest.raises(InputError, match=r"method\.a\.encoder\.count is 'two'"):
        check_node("method.a", {**COMPONENT, "count": 1, "encoder": {**COMPONENT, "count": "two"}})


def test_a_negative_seed_is_refused_by_every_component():
    with pytest.raises(InputError, match="use an integer of at least 0"):
        build({**COMPONENT, "count": 1, "seed": -1}, "method.a")


def test_an_unknown_setting_names_all_settings():
    node = {"_target_": "dissectbench.harness.activations.ActivationSettings", "batchsize": 3}
    with pytest.raises(InputError) as caught:
        check_node("activations", node)
    message = str(caught.value)
    assert "activations.batchsize: there is no such setting" in message
    assert "did you mean batch_size?" in message
    assert "on_error" in message


WRONG = [
    *("table.resamples=abc", "table.resamples=0", "table.control_text=''", "units=1.5", "units=[0.5]"),
    *("units=0", "seed=x", "seed=-1", "name=[1]", "final_layer=[fc]", "device=gpu", "allow_tinyworld=1"),
    *("activations.pool=median", "activations.batch_size=0", "activations.quantile_tail=2"),
    *("activations.workers=-1", "activations.on_error=ignore", "activations.tail_budget_gb=nan"),
    *("method.network_dissection.iou_threshold=high", "method.network_dissection.quantile=nan"),
    *("method.clip_dissect.seed=-3", "method.clip_dissect.keep_candidates=2.5"),
    *("method.milan_tinyworld.decoding.temperature=nan", "method.milan_tinyworld.decoding.beam=0"),
    *("method.describe_and_dissect.labels.max_similarity=.nan", "probe.images=many"),
    *("method.describe_and_dissect.synthetic_images.size=[64]", "+target.foo=1"),
]


@pytest.mark.parametrize("setting", WRONG)
def test_a_dry_run_refuses_what_a_run_refuses(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--dry-run", "probe.images=10", "device=cpu", "layers=[fc]", setting]) == 2
    message = capsys.readouterr().err
    assert setting.split("=")[0].lstrip("+").rpartition(".")[2] in message
    assert "Traceback" not in message
    assert not (tmp_path / "runs").exists()
