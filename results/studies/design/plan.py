"""What a study costs: answers, working time and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..study import Study


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Attributes:
        units: number of units.
        methods: number of methods.
        layers: number of layers.
        tasks: number of tasks by role.
        images: number of image files.
        answers: number of answers wanted.
        hours: expected working time of all raters.
        reward_usd: paid to raters.
        fee_usd: paid to the platform.
        hourly_usd: what a rater earns in an hour.
    """

    units: int
    methods: int
    layers: int
    tasks: Mapping[str, int]
    images: int
    answers: int
    hours: float
    reward_usd: float
    fee_usd: float
    hourly_usd: float

    @property
    def cost_usd(self) -> float:
        """Reward and fee."""
        return self.reward_usd + self.fee_usd

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as JSON-able values."""
        return {**asdict(self), "tasks": dict(self.tasks), "cost_usd": self.cost_usd}

    def lines(self) -> list[str]:
        """Returns the plan in words."""
        tasks = ", ".join(f"{count} {role}" for role, count in self.tasks.items())
        total = sum(self.tasks.values())
        lines = [
            f"{_count(self.units, 'unit')} of {_count(self.layers, 'layer')}, "
            f"{_count(self.methods, 'method')}, {_count(self.images, 'image')}",
            f"{_count(total, 'task')} ({tasks}), {self.answers} answers, "
            f"about {self.hours:.1f} hours of work",
        ]
        if self.reward_usd:
            lines.append(
                f"{self.reward_usd:.2f} USD for raters ({self.hourly_usd:.2f} USD per hour) + "
                f"{self.fee_usd:.2f} USD fee = {self.cost_usd:.2f} USD"
            )
        return lines


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def study_plan(study: Study) -> StudyPlan:
    """Returns the plan of a study."""
    settings = study.settings
    roles = settings.details.get("tasks", {})
    seconds = float(settings.details.get("seconds_per_task", 0.0))
    answers = len(study.tasks) * settings.raters_per_task
    units = {(row[0].layer, row[0].unit) for row in study.key.values() if row and row[0].role == "unit"}
    reward = answers * settings.reward_usd
    return StudyPlan(
        units=len(units),
        methods=len(settings.methods),
        layers=len(settings.layers),
        tasks=roles,
        images=len({image for task in study.tasks.values() for image in task.images}),
        answers=answers,
        hours=answers * seconds / 3600,
        reward_usd=reward,
        fee_usd=reward * settings.fee,
        hourly_usd=settings.reward_usd * 3600 / seconds if seconds else 0.0,
    )
