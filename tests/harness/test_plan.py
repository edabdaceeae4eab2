"""The plan counts the expected language-model calls before any is made."""

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from dissectbench.harness.foundation.pricing import Prices
from dissectbench.harness.plan import print_plan
from dissectbench.harness.records import Description, UnitId
from dissectbench.methods.dnd.expected_calls import expected_calls
from dissectbench.methods.method import ExpectedCalls


class Method:
    def __init__(self, name):
        self.name = name

    def models(self):
        return {}

    def expected_calls(self, units) -> ExpectedCalls | None:
        del units
        return None


class Asking(Method):
    def __init__(self, name, prices):
        super().__init__(name)
        self.prices = prices

    def expected_calls(self, units):
        return expected_calls(units, 10, 5, prices=self.prices)


def last_line(tmp_path, *methods, done=()):
    folder = tmp_path / "plan"
    folder.mkdir()
    records = [Description(UnitId("net", "fc", u), m, "words") for u, m in done]
    (folder / "descriptions.jsonl").write_text("".join(r.to_json() + "\n" for r in records))
    parts: Any = SimpleNamespace(
        settings=SimpleNamespace(config=SimpleNamespace(name="plan", final_layer=None)),
        target=SimpleNamespace(name="net", device="cpu"),
        probe=Squares(),
        layers={"fc": SimpleNamespace(kind="vector", map_shape=(1, 1), n_units=4)},
        units={"fc": [0, 1, 2, 3]},
        methods=methods,
        held_out=None,
        used_metrics=(),
        final_layer=None,
        scored=False,
        tinyworld=[],
    )
    console = Console(width=200, record=True, file=io.StringIO())
    print_plan(parts, tmp_path, console)
    return console.export_text().splitlines()[-1].removeprefix("language-model calls ")


class Squares:
    name = "squares"

    def __len__(self):
        return 3


def test_without_a_language_model_no_calls_are_shown(tmp_path):
    assert last_line(tmp_path, Method("a")).split()[:2] == ["fc", "vector"]


def test_calls_are_summed_over_the_methods_and_the_units_still_to_do(tmp_path):
    methods = Asking("a", Prices(1, 1)), Method("b"), Asking("c", Prices(0, 0))
    done = [(0, "a"), (1, "a"), (3, "b")]
    assert last_line(tmp_path, *methods, done=done).startswith("90 expected if none is cached (about 0.0")


def test_when_everything_is_done_no_call_is_expected(tmp_path):
    done = [(unit, "a") for unit in range(4)]
    assert last_line(tmp_path, Asking("a", Prices(1, 1)), done=done) == "0 (cost 0 USD)"


def test_an_unknown_price_is_named_as_such(tmp_path):
    assert "price unknown" in last_line(tmp_path, Asking("a", None))
