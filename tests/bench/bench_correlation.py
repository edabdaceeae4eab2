"""Estimators of correlation studies, on simulated answers about units with known truth.

Prints the JSON that `bench.py` reads; with `--table` the tables of docs/studies/correlation.md instead.
`--quick` simulates a tenth of the studies. The same numbers on every machine, up to rounding.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from presence_truths import synthetics, tinyworld
from study_simulation import Outcome, compared

from dissectbench.results.studies.correlation.simulation import Plan, Truth, uniform_ratings

STUDIES = 100
ERRORS = ((0.02, 0.3), (0.05, 0.2), (0.23, 0.23))
# Largest mean bias, and smallest coverage of the 95 % interval, of the recommended estimator.
BIAS, COVERAGE = 0.015, 0.90


def rows(truths: list[Truth], plan: Plan, studies: int) -> list[tuple[str, Outcome]]:
    """The estimators compared: the recommended one, and what is usually done."""
    drawn = compared(truths, plan, studies)
    return [
        ("recommended", drawn["recommended"]),
        (
            "recommended, published sampling",
            compared(truths, replace(plan, rule="product"), studies)["recommended"],
        ),
        (
            "recommended, uniform sampling",
            compared(truths, replace(plan, rule="uniform"), studies)["recommended"],
        ),
        ("posterior with the guess as prior", drawn["posterior"]),
        ("majority vote", drawn["majority"]),
    ]


def savings(truths: list[Truth], plan: Plan, outcome: Outcome) -> dict[str, float]:
    """Ratings of uniformly drawn images for the same standard errors / ratings of this plan (medians)."""
    used = plan.images * plan.answers
    return {
        name: float(
            np.median(
                [
                    uniform_ratings(truth, plan, float(error), debiased=debiased) / used
                    for truth, error in zip(truths, outcome.deviations, strict=True)
                ]
            )
        )
        for name, debiased in (("majority", False), ("debiased", True))
    }


def main(arguments: list[str]) -> None:
    """Simulates and prints."""
    studies = STUDIES // 10 if "--quick" in arguments else STUDIES
    with tempfile.TemporaryDirectory() as folder:
        worlds = {
            "synthetic, 20,000 images": synthetics(),
            "tinyworld, 1,200 images": tinyworld(Path(folder)),
        }
    results = []
    for name, truths in worlds.items():
        for false_yes, false_no in ERRORS:
            plan = Plan(false_yes=false_yes, false_no=false_no)
            table = rows(truths, plan, studies)
            best = table[0][1]
            saved = savings(truths, plan, best)
            title = f"{name}; false yes {false_yes:.0%}, false no {false_no:.0%}"
            if "--table" in arguments:
                print_table(title, table, saved)
            results.append(
                {
                    "name": f"correlation study: {title}",
                    "ratio": round(saved["majority"], 1),
                    "bound": f"bias <= {BIAS}, coverage >= {COVERAGE}",
                    "ok": abs(best.bias) <= BIAS and best.coverage >= COVERAGE,
                    "details": {label: outcome.summary() for label, outcome in table} | {"saved": saved},
                }
            )
    if "--table" not in arguments:
        print(json.dumps(results))


def print_table(title: str, table: list[tuple[str, Outcome]], saved: dict[str, float]) -> None:
    """Prints a Markdown table."""
    print(f"**{title}**\n")
    print("| estimator | mean bias | largest bias | standard error | RMSE | coverage |")
    print("|---|---|---|---|---|---|")
    for label, outcome in table:
        s = outcome.summary()
        numbers = (
            f"{s['bias']:+.3f}",
            f"{s['largest_bias']:+.3f}",
            f"{s['error']:.3f}",
            f"{s['rmse']:.3f}",
        )
        coverage = "" if s["coverage"] is None else f"{s['coverage']:.1%}"
        print("| " + " | ".join((label, *numbers, coverage)) + " |")
    print(
        f"\nUniform sampling needs {saved['majority']:.1f} times as many ratings with majority votes, "
        f"{saved['debiased']:.1f} times as many with debiased answers (medians).\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
