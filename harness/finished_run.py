"""Reads the folder of a run: the one place that knows its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, nearest
from .files import read_json
from .journal import Spent, read_descriptions, read_spent
from .records import Description, UnitId
from .run_folder import (
    CONFIG,
    ENVIRONMENT,
    FORMAT,
    IDENTITY,
    METRICS,
    MODELS,
    SCORES,
    SELECTION,
    SKIPPED,
    STATUS,
    RunStatus,
    Selection,
    State,
)
from .scores import MetricInfo, read_metrics, read_scores

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


class FinishedRun:
    """A run folder, opened for reading. Files are read when they are first asked for.

    It can be opened in every state: `status` says whether the last command finished. What an unfinished
    command has not written yet is empty or None.

    Example:
        >>> run = FinishedRun("runs/demo")                                         # doctest: +SKIP
        >>> [(d.unit.index, d.method, d.text) for d in run.records]                # doctest: +SKIP

    Raises:
        InputError: if the folder is not a run, or of a newer version; and, when it is read, for a file
            that is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / STATUS).is_file():
            near = nearest(self.path.name, _runs_in(self.path.parent))
            raise InputError(
                f"{self.path} is not the folder of a run: it has no {STATUS}",
                f"{near} `dissectbench list runs` lists the runs".strip(),
            )
        self.details  # noqa: B018  # refuses another version at once

    def __repr__(self) -> str:
        return f"FinishedRun({str(self.path)!r}, {self.status})"

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @cached_property
    def details(self) -> RunStatus:
        """The whole status: times, number of failed units, the error that ended the run."""
        content = dict(read_json(self.path / STATUS))
        # Before the fields: another format may have other fields, and the message should say why.
        version = content.pop("format", None)
        if version != FORMAT:
            raise InputError(
                f"{self.path / STATUS}: format {version}, this version reads format {FORMAT}",
                "read it with the version of dissectbench that wrote it (see environment.json)",
            )
        try:
            return RunStatus(**content)
        except TypeError as error:
            raise InputError(f"{self.path / STATUS} is damaged: {error}") from error

    @property
    def status(self) -> State:
        """One of "started" (also after a kill), "finished", "interrupted", "failed"."""
        return self.details.state

    @cached_property
    def settings(self) -> DictConfig:
        """The resolved configuration of the last command."""
        from omegaconf import OmegaConf

        config = OmegaConf.load(self._existing(CONFIG))
        assert OmegaConf.is_dict(config)
        return config  # pyright: ignore[reportReturnType]

    @cached_property
    def selection(self) -> Selection | None:
        """Which layers, units and methods the last command asked for; None for a folder of scores."""
        path = self.path / SELECTION
        return Selection(**read_json(path)) if path.exists() else None

    @cached_property
    def records(self) -> list[Description]:
        """The selected records: the last of every (unit, method), ordered by method, layer and unit."""
        return self.selection.choose(self.all_records) if self.selection else []

    @cached_property
    def all_records(self) -> Mapping[tuple[UnitId, str], Description]:
        """The last record of every (unit, method) in the folder, also of those not selected."""
        path = self.path / "descriptions.jsonl"
        records = read_descriptions(path) if path.exists() else ()
        # Later lines replace earlier ones: a unit that is described again is appended.
        return {(record.unit, record.method): record for record in records}

    @cached_property
    def scores(self) -> pd.DataFrame | None:
        """The score table (see `harness.scores`); None if nothing was scored."""
        path = self.path / SCORES
        return read_scores(path) if path.exists() else None

    @cached_property
    def models(self) -> dict[str, str]:
        """The target, the probing set and the models used, by what they are."""
        return self._json(MODELS)

    @cached_property
    def skipped_images(self) -> dict[str, str]:
        """The images that could not be read and were left out (on_error=skip): the reason by path."""
        return self._json(SKIPPED)

    @cached_property
    def metrics(self) -> dict[str, MetricInfo]:
        """Properties of each metric in the score table, by name."""
        path = self.path / METRICS
        return read_metrics(path) if path.exists() else {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the records depend on: layer fingerprints, settings and weights of methods."""
        return self._json(IDENTITY)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions of Python and packages, device, target and probing set."""
        return self._json(ENVIRONMENT)

    @cached_property
    def spent(self) -> Mapping[tuple[UnitId, str], Spent]:
        """Seconds and cost of each (unit, method), summed over all attempts."""
        return read_spent(self.path / "spent.jsonl")

    def require_finished(self) -> FinishedRun:
        """Returns itself.

        Raises:
            InputError: if the last command did not finish; says how it ended and what to do.
        """
        if self.status == "finished":
            return self
        ended = {
            "started": "is still running, or was killed",
            "interrupted": "was interrupted",
            "failed": f"failed: {self.details.error}",
        }[self.status]
        raise InputError(f"the run {self.path} {ended}", "rerun the same command to complete it")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return dict(read_json(path)) if path.exists() else {}

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            raise InputError(f"{path} does not exist", "rerun the same command to write it")
        return path


def _runs_in(folder: Path) -> list[str]:
    """Returns the names of the runs in a folder, for the hint about a misspelt one."""
    return sorted(path.parent.name for path in folder.glob(f"*/{STATUS}"))
