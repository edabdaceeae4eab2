"""Opens the runs and files that a study compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError, one_of
from ..files import file_digest, fingerprint
from ..finished_run import FinishedRun
from ..records import Description, UnitId
from ..report import open_layers
from ..run_folder import PROBING_SET, TARGET

if TYPE_CHECKING:
    from ...results.studies.design.frame import Frame
    from ..probe import ProbedLayer

BelowThreshold = Literal["best", "leave-out"]


@dataclass(frozen=True)
class OpenFrame:
    """A sampling frame with the images of its units.

    Attributes:
        frame: the units and their descriptions.
        run: the first run, whose images are shown.
        layers: its layers: values, probing set, regions.
    """

    frame: Frame
    run: FinishedRun
    layers: Mapping[str, ProbedLayer]

    def strongest(self, unit: UnitId) -> frozenset[int]:
        """Returns the images with the highest values of a unit: 5 % of all, at least 20."""
        layer = self.layers[unit.layer]
        count = max(20, len(layer.probe) // 20)
        return frozenset(layer.exemplars(unit.index, count).indices.tolist())


@dataclass(frozen=True)
class _Source:
    """The descriptions of one run or file, by unit and method."""

    name: str
    digest: str
    texts: Mapping[UnitId, Mapping[str, str]]
    methods: Sequence[str]
    dead: frozenset[UnitId] = frozenset()


def open_frame(
    paths: Sequence[str | Path],
    *,
    methods: Sequence[str] = (),
    below_threshold: BelowThreshold = "best",
) -> OpenFrame:
    """Opens finished runs of one target, and description files (see `dissectbench import`).

    A method that several sources have gets the name of the source in front, such as `demo/clip_dissect`.

    Args:
        paths: folders of runs and CSV files; the images and layers are those of the first run.
        methods: the methods to compare, in the order of tables; empty for all.
        below_threshold: what to show where the best candidate of a method is below the method's own
            threshold: this candidate, as in the published description files, or no description.

    Raises:
        InputError: if no run is given, a run is unfinished or of another target, its images are not
            available, or a method is unknown.
    """
    from ...results.studies.design.frame import Frame

    one_of("--below-threshold", below_threshold, ("best", "leave-out"))
    folders = [Path(path) for path in paths if not Path(path).is_file()]
    runs = [FinishedRun(folder).require_finished() for folder in folders]
    if not runs:
        raise InputError("no run is given", "the images of a study are those of a run: give its folder")
    notes = _check_targets(runs)
    selection = runs[0].selection
    if selection is None or not runs[0].records:
        raise InputError(f"{runs[0].path} has no descriptions of units", "give the folder of a run")
    sources = [_of_run(run, below_threshold) for run in runs]
    files = [Path(path) for path in paths if Path(path).is_file()]
    if files:
        sources.append(_of_files(files, selection.target))
    layers = {name: layer for name, layer in open_layers(runs[0]).items() if name in selection.units}
    names = _names(sources)
    known = list(names.values())
    chosen = [one_of("--methods", method, known) for method in methods] or known
    texts = _joined(sources, names, chosen, layers)
    dead = {unit for source in sources for unit in source.dead if unit.layer in layers}
    dead |= {unit for unit in texts if layers[unit.layer].dead[unit.index]}
    frame = Frame(
        target=selection.target,
        layers=tuple(layers),
        methods=tuple(dict.fromkeys(chosen)),
        texts={unit: of_unit for unit, of_unit in texts.items() if unit not in dead},
        dead=tuple(sorted(dead)),
        sources=tuple({"name": source.name, "fingerprint": source.digest} for source in sources),
        references=_references(runs),
        notes=tuple(notes),
    )
    return OpenFrame(frame, runs[0], layers)


def _check_targets(runs: Sequence[FinishedRun]) -> Iterator[str]:
    """Yields a note for every run with another probing set than the first one."""
    first = runs[0]
    for run in runs[1:]:
        if run.identity.get(TARGET) != first.identity.get(TARGET):
            raise InputError(
                f"{first.path} and {run.path} are runs of different targets",
                "a study compares descriptions of the same units",
            )
    for run in runs[1:]:
        if run.identity.get(PROBING_SET) != first.identity.get(PROBING_SET):
            yield f"{run.name} has another probing set than {first.name}, whose images are shown"


def _of_run(run: FinishedRun, below_threshold: BelowThreshold) -> _Source:
    texts: dict[UnitId, dict[str, str]] = {}
    for record in run.records:
        text = _text(record, below_threshold)
        of_unit = texts.setdefault(record.unit, {})
        if text:
            of_unit[record.method] = text
    return _Source(
        name=run.name,
        digest=fingerprint([run.identity, file_digest(run.path / "descriptions.jsonl")]),
        texts=texts,
        methods=run.selection.methods if run.selection else (),
        dead=frozenset(record.unit for record in run.records if record.status == "dead"),
    )


def _text(record: Description, below_threshold: BelowThreshold) -> str | None:
    if record.status == "below_threshold" and below_threshold == "best" and record.candidates:
        return record.candidates[0].text
    return record.text


def _of_files(files: Sequence[Path], target: str) -> _Source:
    from ...results.importers.importing import import_descriptions

    imported = import_descriptions(files)
    texts: dict[UnitId, dict[str, str]] = {}
    for row in imported.rows:
        if row.text is not None:
            texts.setdefault(UnitId(target, row.layer, row.unit), {})[row.method] = row.text
    return _Source(
        name=", ".join(file.name for file in files),
        digest=fingerprint([file_digest(file) for file in files]),
        texts=texts,
        methods=list(dict.fromkeys(row.method for row in imported.rows)),
    )


def _names(sources: Sequence[_Source]) -> dict[tuple[int, str], str]:
    """Returns the name of each method of each source (by its number)."""
    count = Counter(method for source in sources for method in source.methods)
    names = {
        (number, method): f"{source.name}/{method}" if count[method] > 1 else method
        for number, source in enumerate(sources)
        for method in source.methods
    }
    twice = [name for name, times in Counter(names.values()).items() if times > 1]
    if twice:
        raise InputError(f"two sources have the method {twice[0]}", "give each run and file once")
    return names


def _joined(
    sources: Sequence[_Source],
    names: Mapping[tuple[int, str], str],
    methods: Sequence[str],
    layers: Mapping[str, Any],
) -> dict[UnitId, dict[str, str]]:
    """Returns the descriptions by unit and method, in the order of layers and units."""
    texts: dict[UnitId, dict[str, str]] = {}
    for number, source in enumerate(sources):
        units = [unit for unit in source.texts if unit.layer in layers]
        if not units:
            of_source = ", ".join(dict.fromkeys(unit.layer for unit in source.texts)) or "no layer"
            raise InputError(
                f"{source.name} describes units of {of_source}, the first run of {', '.join(layers)}",
                "a study compares descriptions of the same units",
            )
        for unit in units:
            if unit.index >= layers[unit.layer].n_units:
                raise InputError(
                    f"{source.name}: layer {unit.layer} has no unit {unit.index}",
                    f"it has units 0 to {layers[unit.layer].n_units - 1}",
                )
            for method, text in source.texts[unit].items():
                if (name := names[number, method]) in methods:
                    texts.setdefault(unit, {})[name] = text
    order = list(layers)
    return dict(sorted(texts.items(), key=lambda item: (order.index(item[0].layer), item[0].index)))


def _references(runs: Sequence[FinishedRun]) -> dict[UnitId, tuple[str, ...]]:
    """Returns the true texts of units, as far as a run was scored against them."""
    from ..scores import score_rows

    references = {}
    for run in runs:
        for row in [] if run.scores is None else score_rows(run.scores):
            if row.references:
                references.setdefault(UnitId(row.target, row.layer, row.unit), row.references)
    return references
