"""Bundles: what one finished run submits to a leaderboard, as one zip file of JSON and Parquet."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ...harness import __version__
from ...harness.errors import InputError
from ...harness.files import atomic_open, fingerprint
from ...harness.scores import MetricInfo, ScoreRow, references_by_unit, score_rows
from .privacy import clean_text, cleaned

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ...harness.finished_run import FinishedRun
    from ...harness.records import Description, Spent

SCHEMA = 1
"""Version of the layout. Every version has a bundle in `tests/fixtures` that must stay readable."""
FORMAT = "dissectbench leaderboard bundle"
MANIFEST, RUN, SUMMARY = "manifest.json", "run.json", "summary.json"
DESCRIPTIONS, SCORES = "descriptions.parquet", "scores.parquet"

# Settings of a run that are not about how the numbers came about.
_NOT_SUBMITTED = ("name", "method", "metric")
_RECORD_AGAIN = "rerun the same command: it adds what is missing and describes no unit again"


@dataclass(frozen=True)
class TargetInfo:
    """The network under study: its name, the hash of weights and preprocessing, the commit of a hub."""

    name: str
    fingerprint: str
    commit: str | None = None


@dataclass(frozen=True)
class ProbingSetInfo:
    """The probing set: its name, hash and number of images, and how many could not be read."""

    name: str
    fingerprint: str
    images: int
    skipped: int = 0


@dataclass(frozen=True)
class ReferencesInfo:
    """The references of the scored layer: name, hash of all of them, texts of the scored units."""

    name: str
    fingerprint: str
    layer: str
    texts: dict[int, list[str]]


@dataclass(frozen=True)
class MethodInfo:
    """A method: everything its descriptions depend on, with hashes of models, and its settings."""

    identity: dict[str, Any]
    settings: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of `identity`: equal for two submissions of one method with the same settings."""
        return fingerprint(self.identity)


@dataclass(frozen=True)
class Environment:
    """Where a run took place: device, versions of Python and packages."""

    device: str
    python: str
    platform: str
    packages: dict[str, str]


@dataclass(frozen=True)
class RunInfo:
    """What `run.json` says about a run.

    Attributes:
        target: the network under study.
        probing_set: the images it was shown.
        layers: hash of the stored activations of each layer.
        units: the described units of each layer.
        methods: the methods, by name, in the order of the settings.
        metrics: properties of the metrics, by name; empty without scores.
        references: the references; None without scores.
        models: names of the models, by their role.
        settings: the other settings of the run.
        environment: device and versions.
        started: ISO 8601 in UTC.
        ended: ISO 8601 in UTC.
    """

    target: TargetInfo
    probing_set: ProbingSetInfo
    layers: dict[str, str]
    units: dict[str, list[int]]
    methods: dict[str, MethodInfo]
    metrics: dict[str, MetricInfo]
    references: ReferencesInfo | None
    models: dict[str, str]
    settings: dict[str, Any]
    environment: Environment
    started: str
    ended: str


class DescribedUnit(NamedTuple):
    """One row of `descriptions.parquet`: a record without candidates and evidence.

    Attributes:
        layer: name of the layer.
        unit: index of the unit.
        method: name of the method.
        status: status of the description; see `Description`.
        text: the description; None unless `status` is "ok".
        score: the method's own score.
        reason: why there is no description, where the method says so.
        seconds: wall time; None if it is not known.
        cost_usd: cost of paid services; None if it is not known.
    """

    layer: str
    unit: int
    method: str
    status: str
    text: str | None
    score: float | None
    reason: str | None
    seconds: float | None
    cost_usd: float | None


class ScoredUnit(NamedTuple):
    """One row of `scores.parquet`: a `ScoreRow` without what `run.json` says for all rows."""

    unit: int
    method: str
    control: bool
    metric: str
    score: float | None
    reason: str | None
    status: str
    prediction: str | None


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle.

    Attributes:
        info: the content of `run.json`.
        descriptions: one row per layer, unit and method.
        scores: one row per unit, method or control, and metric; empty without scores.
        summary: counts and means, see `summary.summarise`; `validate` computes them again.
        source: the file or run folder, for messages.
    """

    info: RunInfo
    descriptions: Sequence[DescribedUnit]
    scores: Sequence[ScoredUnit]
    summary: Mapping[str, Any]
    source: str

    @cached_property
    def id(self) -> str:
        """Hash of the content: the same for a run and for every bundle that it submits."""
        return fingerprint(
            [
                asdict(self.info),
                [list(row) for row in self.descriptions],
                [list(row) for row in self.scores],
            ]
        )

    def score_table(self) -> Iterator[ScoreRow]:
        """Yields the rows of the run's score table."""
        references = self.info.references
        if references is None:
            return
        for row in self.scores:
            yield ScoreRow(
                target=self.info.target.name,
                layer=references.layer,
                references=tuple(references.texts.get(row.unit, ())),
                **{**row._asdict(), "score": float("nan") if row.score is None else row.score},
            )


def bundle_of_run(run: FinishedRun) -> Bundle:
    """Returns what a run submits, without images, candidates, keys and paths of the computer.

    Raises:
        InputError: if the run did not finish, or an earlier version of the program wrote it without the
            hashes of probing set and references.
    """
    from .summary import summarise

    run.require_finished()
    info = _run_info(run)
    descriptions = [
        _described(record, run.spent.get((record.unit, record.method))) for record in run.records
    ]
    final = _final_scores(run)
    scores = [] if final is None else [_scored(row) for row in score_rows(final)]
    summary = summarise(info, descriptions, scores)
    return Bundle(info, descriptions, scores, summary, str(run.path))


def write_bundle(bundle: Bundle, path: str | os.PathLike[str]) -> None:
    """Writes a bundle, atomically; the same bundle always gives the same bytes.

    Raises:
        InputError: if the file cannot be written.
    """
    files = {
        RUN: _json(asdict(bundle.info)),
        SUMMARY: _json(bundle.summary),
        DESCRIPTIONS: _parquet(bundle.descriptions, descriptions_schema()),
    }
    if bundle.info.references is not None:
        files[SCORES] = _parquet(bundle.scores, scores_schema())
    manifest = {
        "format": FORMAT,
        "schema": SCHEMA,
        "written_by": f"dissectbench {__version__}",
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    with atomic_open(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MANIFEST: _json(manifest), **files}.items():
            # The default date is the current time, and the default system the one of this machine.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def descriptions_schema() -> pa.Schema:
    """Returns the columns of `descriptions.parquet`: the fields of `DescribedUnit`."""
    import pyarrow as pa

    types = {"unit": pa.int64(), "score": pa.float64(), "seconds": pa.float64(), "cost_usd": pa.float64()}
    return pa.schema([(name, types.get(name, pa.string())) for name in DescribedUnit._fields])


def scores_schema() -> pa.Schema:
    """Returns the columns of `scores.parquet`: the fields of `ScoredUnit`."""
    import pyarrow as pa

    types = {"unit": pa.int64(), "control": pa.bool_(), "score": pa.float64()}
    return pa.schema([(name, types.get(name, pa.string())) for name in ScoredUnit._fields])


def _run_info(run: FinishedRun) -> RunInfo:
    from omegaconf import OmegaConf

    selection, environment, identity = run.selection, run.environment, run.identity
    if selection is None:
        raise InputError(f"{run.path} has no selection.json", "submit a folder that `run` wrote")
    probing_set, scored = identity.get("probing_set"), _final_scores(run) is not None
    if probing_set is None or (scored and environment.get("references") is None):
        raise InputError(
            f"{run.path}: an earlier version wrote it without the hashes of probing set and references",
            _RECORD_AGAIN,
        )
    settings = cleaned(OmegaConf.to_container(run.settings, resolve=True))
    return RunInfo(
        target=TargetInfo(**cleaned(environment["target"])),
        probing_set=ProbingSetInfo(
            name=clean_text(environment["probing_set"]["name"]),
            fingerprint=probing_set["fingerprint"],
            images=probing_set["images"],
            skipped=len(run.skipped_images),
        ),
        layers={layer: identity[f"layer/{layer}"] for layer in selection.units},
        units={layer: list(units) for layer, units in selection.units.items()},
        methods=_methods(selection.methods, identity, settings),
        metrics={name: MetricInfo(**cleaned(asdict(metric))) for name, metric in run.metrics.items()}
        if scored
        else {},
        references=_references(run, environment),
        models=cleaned(run.models),
        settings={name: value for name, value in settings.items() if name not in _NOT_SUBMITTED},
        environment=Environment(
            **{key: environment[key] for key in ("device", "python", "platform", "packages")}
        ),
        started=run.details.started,
        ended=run.details.ended or run.details.started,
    )


def _methods(
    names: Sequence[str], identity: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, MethodInfo]:
    # A method may have another name than its configuration node; its settings are then not known.
    nodes = settings.get("method") or {}
    return {
        name: MethodInfo(cleaned(identity[f"method/{name}"]), dict(nodes.get(name) or {}))
        for name in names
    }


def _final_scores(run: FinishedRun) -> pd.DataFrame | None:
    """Returns the scores of the layer that has references; hidden layers are not part of a bundle."""
    layer = run.selection.scored_layer if run.selection is not None else None
    if run.scores is None or layer is None:
        return None
    return run.scores.loc[run.scores["layer"] == layer]


def _references(run: FinishedRun, environment: Mapping[str, Any]) -> ReferencesInfo | None:
    scores = _final_scores(run)
    if scores is None:
        return None
    layer = str(scores["layer"].iloc[0])
    texts = {unit: list(texts) for unit, texts in enumerate(references_by_unit(scores)) if texts}
    known = environment["references"]
    return ReferencesInfo(clean_text(known["name"]), known["fingerprint"], layer, texts)


def _described(record: Description, spent: Spent | None) -> DescribedUnit:
    reason = record.evidence.get("reason")
    return DescribedUnit(
        layer=record.unit.layer,
        unit=record.unit.index,
        method=record.method,
        status=record.status,
        text=record.text,
        score=record.score,
        # A failed unit's reason may quote a path or an address.
        reason=None if reason is None else clean_text(str(reason)),
        seconds=None if spent is None else spent.seconds,
        cost_usd=None if spent is None else spent.cost_usd,
    )


def _scored(row: ScoreRow) -> ScoredUnit:
    values = {name: getattr(row, name) for name in ScoredUnit._fields}
    # NaN is not equal to itself, and JSON has none.
    return ScoredUnit(**{**values, "score": None if row.score != row.score else float(row.score)})


def _json(value: Any) -> bytes:
    # Unsorted: the order of layers and methods is the order of the tables.
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(rows: Sequence[NamedTuple], schema: pa.Schema) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [[row[number] for row in rows] for number in range(len(schema))]
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=False)
    return buffer.getvalue()
