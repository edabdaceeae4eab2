"""The overview of the report: provenance, warnings, agreement of methods, unique detectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ...harness.finished_run import FinishedRun
from ...harness.tinyworld_models import MADE_FOR_TINYWORLD
from .images import RunImages
from .sentences import Sentences, mean_cosines
from .units import UnitReport

DETECTORS_OF = "network_dissection"


@dataclass(frozen=True)
class Agreement:
    """How alike the descriptions of a unit by two methods are.

    The controls compare each description with those of the other units: the expectation for descriptions
    that are shuffled over units. Shares are fractions; None without units, or, for controls, without two.

    Attributes:
        methods: the two methods.
        units: number of units that both methods describe.
        equal: share of units with equal descriptions, regardless of case.
        equal_control: its control.
        cosine: mean cosine of the sentence embeddings; None without embeddings.
        cosine_control: its control.
    """

    methods: tuple[str, str]
    units: int
    equal: float | None
    equal_control: float | None
    cosine: float | None = None
    cosine_control: float | None = None


@dataclass(frozen=True)
class Detectors:
    """Network Dissection's unique detectors of a layer: different labels by category."""

    layer: str
    units: int
    by_category: tuple[tuple[str, int], ...]

    @property
    def highest(self) -> int:
        """Returns the largest number of a category."""
        return max((count for _, count in self.by_category), default=0)


def provenance(run: FinishedRun) -> list[tuple[str, str]]:
    """Returns what the run used, as names and values."""
    selection, environment = run.selection, run.environment
    layers = {} if selection is None else selection.units
    target = environment.get("target") or {}
    rows = [
        *((role, name) for role, name in run.models.items() if role != MADE_FOR_TINYWORLD),
        ("layers", ", ".join(f"{name} ({len(units)} units)" for name, units in layers.items())),
        ("methods", ", ".join(selection.methods) if selection else ""),
        ("target fingerprint", str(target.get("fingerprint", ""))),
        ("seed", str(environment.get("seed", ""))),
        ("device", str(environment.get("device", ""))),
        ("dissectbench", str(environment.get("packages", {}).get("dissectbench", ""))),
        ("started", run.details.started),
        ("ended", run.details.ended or "not finished"),
    ]
    return [(name, value) for name, value in rows if value]


def summary(run: FinishedRun) -> list[str]:
    """Returns the line below the title: target, probing set and date."""
    wanted = ("target", "probing set")
    return [*(run.models[name] for name in wanted if name in run.models), run.details.started[:10]]


def warnings(run: FinishedRun, images: RunImages) -> list[str]:
    """Returns what a reader must know before believing the page."""
    found = []
    if run.status != "finished":
        found.append(f"The run is not complete (status: {run.status}).")
    if MADE_FOR_TINYWORLD in run.models:
        found.append(f"Models {MADE_FOR_TINYWORLD}: {run.models[MADE_FOR_TINYWORLD]}.")
    if run.skipped_images:
        names = ", ".join(list(run.skipped_images)[:3])
        more = ", …" if len(run.skipped_images) > 3 else ""
        found.append(f"{len(run.skipped_images)} unreadable images were left out: {names}{more}.")
    if images.missing:
        found.append(f"The page has no images: {images.missing}")
    return [*found, *images.notes]


def agreements(units: Sequence[UnitReport], sentences: Sentences) -> list[Agreement]:
    """Returns the agreement of every pair of methods over all units."""
    texts: dict[str, dict[str, str]] = {}
    for unit in units:
        for found in unit.descriptions:
            of_method = texts.setdefault(found.method, {})
            if found.text is not None:
                of_method[unit.key] = found.text
    return [
        _agreement((first, second), texts[first], texts[second], sentences)
        for first, second in combinations(texts, 2)
    ]


def _agreement(
    methods: tuple[str, str],
    first: Mapping[str, str],
    second: Mapping[str, str],
    sentences: Sentences,
) -> Agreement:
    pairs = [(text, second[key]) for key, text in first.items() if key in second]
    count = len(pairs)
    if not count:
        return Agreement(methods, 0, None, None)
    equal = sum(one.lower() == other.lower() for one, other in pairs)
    ones, others = (Counter(text.lower() for text in texts) for texts in zip(*pairs, strict=True))
    # All ordered pairs of units with equal descriptions, less those of a unit with itself.
    shuffled = sum(number * others[text] for text, number in ones.items()) - equal
    control = None if count == 1 else shuffled / (count * (count - 1))
    if not sentences.encoder:
        return Agreement(methods, count, equal / count, control)
    vectors = (sentences.of_texts(texts) for texts in zip(*pairs, strict=True))
    return Agreement(methods, count, equal / count, control, *mean_cosines(*vectors))


def detectors(run: FinishedRun) -> list[Detectors]:
    """Returns the unique detectors of each layer among the selected units.

    A label counts in its category if it is the category's best label of a unit and its IoU is above the
    threshold of the run, as in the published counts.
    """
    settings = run.identity.get(f"method/{DETECTORS_OF}", {})
    threshold, denominator = settings.get("iou_threshold", 0.04), settings.get("denominator", "paper")
    field = "iou" if denominator == "paper" else f"iou_{denominator}"
    labels: dict[str, dict[str, set[str]]] = {}
    units: Counter[str] = Counter()
    for record in run.records:
        if record.method != DETECTORS_OF:
            continue
        units[record.unit.layer] += 1
        of_layer = labels.setdefault(record.unit.layer, {})
        for category, best in record.evidence.get("categories", {}).items():
            if best[field] > threshold:
                of_layer.setdefault(category, set()).add(best["label"])
    categories = sorted({category for of_layer in labels.values() for category in of_layer})
    return [
        Detectors(layer, units[layer], tuple((c, len(of_layer.get(c, ()))) for c in categories))
        for layer, of_layer in labels.items()
    ]


def troubled(units: Sequence[UnitReport]) -> list[tuple[UnitReport, str]]:
    """Returns the dead units and those that a method failed on, with the reason."""
    found: list[tuple[UnitReport, str]] = []
    for unit in units:
        failed = [d for d in unit.descriptions if d.status == "failed"]
        if unit.dead:
            found.append((unit, "dead: its value is the same for every image"))
        elif failed:
            found.append((unit, "; ".join(f"{d.method} failed: {d.reason}" for d in failed)))
    return found
