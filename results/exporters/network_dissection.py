"""The rows of Network Dissection's files, made from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...harness.errors import InputError
from ...harness.records import Description
from ..importers.layout_files import built_in_layouts

# The order of the original files. Records are stored with sorted keys and do not keep it.
_BRODEN_CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
# The name of each IoU in a record, by the denominator that the method was run with.
_IOU = {"paper": "iou", "lite": "iou_lite", "all": "iou_all", "dissect": "iou_dissect"}


def has_label(description: Description) -> bool:
    """Returns whether a unit has a label, also one below the threshold."""
    return description.status in ("ok", "below_threshold") and bool(description.candidates)


def network_dissection_rows(records: Sequence[Description]) -> list[list[object]]:
    """Returns header and rows: unit (from 1), category, label and score, then each category's best label.

    The label of a category comes with its truth, activation and intersect (pixels) and its IoU; the cells
    are empty where the unit meets no label of the category.

    Args:
        records: records of one layer that have a label.

    Raises:
        InputError: if a record is not one of Network Dissection.
    """
    # The original files have the columns of all of Broden's categories, also of those without a label.
    present = {name for d in records for name in _evidence(d)["categories"]}
    categories = sorted({*_BRODEN_CATEGORIES, *present}, key=_place)
    header: list[object] = list(built_in_layouts()["network_dissection"].header)
    fields = ("label", "truth", "activation", "intersect", "iou")
    header += [f"{category}-{field}" for category in categories for field in fields]
    return [header, *(_row(d, categories) for d in records)]


def _row(description: Description, categories: Sequence[str]) -> list[object]:
    evidence = _evidence(description)
    unit = description.unit.index + built_in_layouts()["network_dissection"].first_unit
    row: list[object] = [unit, evidence["category"], evidence["label"], description.score]
    for category in categories:
        best = evidence["categories"].get(category)
        if best is None:
            row += [""] * 5
        else:
            iou = best[_IOU[evidence["denominator"]]]
            row += [best["label"], best["truth"], best["activation"], best["intersection"], iou]
    return row


def _evidence(description: Description) -> Mapping[str, Any]:
    missing = {"category", "label", "categories", "denominator"} - set(description.evidence)
    if missing:
        raise InputError(
            f"the layout netdissect needs a Broden label, which unit {description.unit.index} of "
            f"{description.method} does not have",
            "export the descriptions of network_dissection in it",
        )
    return description.evidence


def _place(category: str) -> tuple[int, str]:
    known = category in _BRODEN_CATEGORIES
    # Other categories come after those of Broden, by name.
    return (_BRODEN_CATEGORIES.index(category) if known else len(_BRODEN_CATEGORIES)), category
