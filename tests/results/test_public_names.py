"""The public names of results, its packages, and metrics."""

import importlib

import pytest


@pytest.mark.parametrize(
    "package",
    [
        *(
            "results",
            "results.tables",
            "results.figures",
            "results.importers",
            "results.exporters",
            "results.leaderboard",
        ),
        "metrics",
    ],
)
def test_every_public_name_can_be_imported(package):
    module = importlib.import_module(f"dissectbench.{package}")
    assert module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
