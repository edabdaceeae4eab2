"""Designs a rating study: all descriptions of a unit are rated at once, as in the published studies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....harness.errors import InputError, at_least
from ....harness.records import UnitId
from ..study import StudyFiles, StudySettings
from .checks import CheckSettings, attention_checks, repeated_tasks
from .drafts import Draft, ordered
from .frame import Frame
from .gold import Strongest, gold_from_file, gold_from_units
from .slots import SlotBalance, join_identical
from .units import StudyUnits


@dataclass(frozen=True)
class WorkSettings:
    """Time and pay of a task.

    Attributes:
        raters: number of answers wanted of each task.
        min_seconds: an answer in less time is flagged as too fast.
        seconds: expected working time of a task, for the plan.
        reward_usd: paid for one answered task.
        fee: share of the reward that the platform adds; None for that of Amazon Mechanical Turk: 0.2, and
            0.4 from ten raters per task.
    """

    raters: int = 3
    min_seconds: float = 10.0
    seconds: float = 60.0
    reward_usd: float = 0.0
    fee: float | None = None

    def __post_init__(self) -> None:
        at_least("--raters", self.raters, 1)
        finite = {
            "--min-seconds": (self.min_seconds, 0),
            "--seconds": (self.seconds, 1),
            "--reward": (self.reward_usd, 0),
            "--fee": (self.fee_share, 0),
        }
        for option, (value, least) in finite.items():
            if not math.isfinite(at_least(option, value, least)):
                raise InputError(f"{option} {value} must be a number")

    @property
    def fee_share(self) -> float:
        """The share of the reward that the platform adds."""
        return self.fee if self.fee is not None else 0.4 if self.raters >= 10 else 0.2


@dataclass(frozen=True)
class RatingDesign:
    """The settings of a rating study.

    Attributes:
        title: what raters read as the title.
        seed: seed of every random choice.
        work: raters, time and pay.
        checks: attention checks, gold tasks, repeated tasks.
        scale: lowest and highest rating.
    """

    title: str = "Rate short descriptions of sets of images"
    seed: int = 0
    work: WorkSettings = field(default_factory=WorkSettings)
    checks: CheckSettings = field(default_factory=CheckSettings)
    scale: tuple[int, int] = (1, 5)

    def __post_init__(self) -> None:
        at_least("--seed", self.seed, 0)
        if not self.title.strip():
            raise InputError("--title is empty")


@dataclass(frozen=True)
class RatingTasks:
    """The tasks of a rating study before they have images.

    Attributes:
        drafts: the tasks, in the order of the study.
        chosen: the units of the study.
    """

    drafts: tuple[Draft, ...]
    chosen: StudyUnits
    roles: Mapping[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> list[UnitId]:
        """The units whose images are shown, each once."""
        return sorted({draft.unit for draft in self.drafts})


def draft_tasks(
    frame: Frame, chosen: StudyUnits, design: RatingDesign, strongest: Strongest
) -> RatingTasks:
    """Returns the tasks of a study: one per unit, and checks.

    Args:
        frame: the units and their descriptions.
        chosen: the units of the study.
        design: the settings of the design.
        strongest: the strongest images of a unit, for gold tasks.

    Raises:
        InputError: if there are not enough units for the checks.
    """
    # A stream of random numbers for each purpose: more checks do not change the order of descriptions.
    slots, attention, gold, repeat, order = np.random.default_rng(design.seed).spawn(5)
    balance, wanted = SlotBalance(slots), design.checks
    drafts = [
        Draft("unit", unit, tuple(balance.arrange(join_identical(_texts(frame, unit)), unit.layer)))
        for unit in chosen.units
    ]
    count = max(1, round(len(drafts) / 25)) if wanted.attention is None else wanted.attention
    checks = attention_checks(frame, chosen.units, count, design.scale[1], attention)
    if wanted.gold_file is not None:
        checks += gold_from_file(wanted.gold_file, frame, gold)
    # The same unit may be in the file: its task would have the same id.
    used = {check.unit for check in checks if check.role == "gold"}
    checks += gold_from_units(frame.without(used), chosen.units, wanted.gold, strongest, gold)
    tasks = ordered(drafts, checks, repeated_tasks(drafts, wanted.repeat, repeat), order)
    return RatingTasks(tuple(tasks), chosen, dict(Counter(draft.role for draft in tasks)))


def _texts(frame: Frame, unit: UnitId) -> dict[str, str]:
    """Returns the descriptions of a unit in the order of methods."""
    texts = frame.texts[unit]
    return {method: texts[method] for method in frame.methods if method in texts}


def rating_settings(
    frame: Frame, tasks: RatingTasks, design: RatingDesign, details: Mapping[str, Any]
) -> StudySettings:
    """Returns the settings of the study.

    Args:
        frame: the units and their descriptions.
        tasks: the tasks.
        design: the settings of the design.
        details: further settings, such as those of the images.
    """
    of_units = {unit.layer for unit in tasks.chosen.units}
    return StudySettings(
        kind="rating",
        title=design.title,
        seed=design.seed,
        raters_per_task=design.work.raters,
        methods=frame.methods,
        layers=tuple(layer for layer in frame.layers if layer in of_units),
        units=tasks.chosen.sentence,
        sources=frame.sources,
        scale=design.scale,
        min_seconds=design.work.min_seconds,
        reward_usd=design.work.reward_usd,
        fee=design.work.fee_share,
        details={"tasks": tasks.roles, "seconds_per_task": design.work.seconds, **details},
    )


def rating_files(
    tasks: RatingTasks,
    seed: int,
    images: Mapping[UnitId, Sequence[Path]],
    instructions: str,
    consent: str,
) -> StudyFiles:
    """Returns the content of the study.

    Args:
        tasks: the tasks.
        seed: seed of the task ids.
        images: the image files of each unit that is shown, under the names that they get.
        instructions: Markdown.
        consent: Markdown.
    """
    names = {unit: tuple(path.name for path in paths) for unit, paths in images.items()}
    return StudyFiles(
        tasks=[draft.task(seed, names[draft.unit]) for draft in tasks.drafts],
        key=[row for draft in tasks.drafts for row in draft.key(seed)],
        images={path.name: path for draft in tasks.drafts for path in images[draft.unit]},
        instructions=instructions,
        consent=consent,
    )
