"""The folder of one run: status, selection, records, and the lock that admits one process at a time."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .files import atomic_open, explained, read_json, write_json
from .journal import Journal
from .records import Description, UnitId

if TYPE_CHECKING:
    from filelock import FileLock

FORMAT = 1
"""Version of the run folder's layout, stored in `status.json`."""

STATUS, SELECTION, IDENTITY = "status.json", "selection.json", "identity.json"
CONFIG, ENVIRONMENT = "config.yaml", "environment.json"
MODELS, METRICS, SCORES = "models.json", "metrics.json", "scores.parquet"
SKIPPED = "skipped_images.json"

PACKAGES = (
    *("dissectbench", "torch", "torchvision", "timm", "transformers", "diffusers", "openai"),
    *("sentence-transformers", "bert-score", "open_clip_torch", "numpy", "pandas", "scipy"),
    *("scikit-image", "pillow", "hydra-core"),
)


class OtherSettingsError(InputError):
    """The folder holds descriptions made under other settings, or from other weights or images.

    Attributes:
        entry: the entry of `identity.json` that differs, such as "target".
    """

    entry: str = ""


TARGET, PROBING_SET = "target", "probing_set"
"""Entries of `identity.json` about the inputs of all layers; mappings from a part to its hash."""

# The parts in words.
_PARTS = {
    TARGET: {
        "architecture": "the architecture of the target",
        "settings": "the settings that build the target",
        "preprocessing": "the preprocessing of the target",
        "weights": "the weights of the target",
    },
    PROBING_SET: {
        "held_out": "the share of held-out images (held_out)",
        "images": "the number of images",
        "fingerprint": "the image files",
    },
}


@dataclass(frozen=True)
class Selection:
    """What one command asked for: the (unit, method) pairs that its tables are about.

    A folder may hold more records: those of earlier commands with more units, layers or methods.

    Attributes:
        target: name of the target.
        units: the units of each layer, ascending.
        methods: names of the methods, in the order of the settings.
        scored_layer: the layer whose descriptions are scored; None if there are no scores.
    """

    target: str
    units: Mapping[str, Sequence[int]]
    methods: Sequence[str]
    scored_layer: str | None = None

    def keys(self) -> list[tuple[UnitId, str]]:
        """Returns every (unit, method) in the order of methods, layers and units."""
        return [
            (UnitId(self.target, layer, index), method)
            for method in self.methods
            for layer, units in self.units.items()
            for index in units
        ]

    def choose(self, latest: Mapping[tuple[UnitId, str], Description]) -> list[Description]:
        """Returns the selected records that exist, in the order of `keys`."""
        return [latest[key] for key in self.keys() if key in latest]


State = Literal["started", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class RunStatus:
    """How far the last command in a run folder came, as `status.json` stores it.

    Attributes:
        state: "started" while it runs, and after a kill, which leaves no time to write another state;
            "finished"; "interrupted" (by the user); "failed" (by the error in `error`).
        started: when it started, ISO 8601 in UTC.
        ended: when it ended; None for "started".
        failed_units: how many of the selected records have the status "failed"; None if not finished.
        error: the message that ended it; None unless "failed".
    """

    state: State
    started: str
    ended: str | None = None
    failed_units: int | None = None
    error: str | None = None


class RunFolder:
    """`runs/<name>/`, opened for writing by one process at a time. `FinishedRun` reads it.

    Attributes:
        path: the folder.
        journal: its `descriptions.jsonl` and `spent.jsonl`.

    Raises:
        InputError: if another process has it open, or it cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire()
        try:
            self.journal = Journal(self.path / "descriptions.jsonl")
        # Also after Ctrl-C: in a notebook the process continues and would keep the lock.
        except BaseException:
            self._lock.release()
            raise

    def _acquire(self) -> FileLock:
        from filelock import FileLock, Timeout

        # The operating system releases the lock when its holder dies: a killed run leaves none behind.
        lock = FileLock(self.path / ".lock")
        with explained(self.path):
            try:
                # Without waiting: the other run may take hours.
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"another process is working in {self.path}", "wait for it, or use another name="
                ) from None
        return lock

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Keeps `status.json` up to date while a command works in the folder.

        Call `finish` at the end of the block. A command that is refused because the folder was made
        under other settings changes nothing: the earlier status is restored.
        """
        path = self.path / STATUS
        before = path.read_bytes() if path.exists() else None
        started = _now()
        self._write_status(RunStatus("started", started))
        try:
            yield
        except OtherSettingsError:
            if before is not None:
                with atomic_open(path, "wb") as file:
                    file.write(before)
            raise
        except KeyboardInterrupt:
            self._write_status(RunStatus("interrupted", started, _now()))
            raise
        except BaseException as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            # A full disk may refuse this file too; the error that ended the run is the one to show.
            with suppress(InputError):
                self._write_status(RunStatus("failed", started, _now(), error=reason))
            raise

    def finish(self, failed_units: int) -> None:
        """Marks the command as finished; `failed_units` of its selected records have failed."""
        started = read_json(self.path / STATUS)["started"]
        self._write_status(RunStatus("finished", started, _now(), failed_units))

    def _write_status(self, status: RunStatus) -> None:
        write_json(self.path / STATUS, {"format": FORMAT, **asdict(status)})

    def bind(self, identity: Mapping[str, Any]) -> None:
        """Binds the folder to everything its descriptions depend on.

        Args:
            identity: JSON-able; {"target": ..., "layer/<name>": ..., "method/<name>": ...}. New entries
                are added, so that later commands can add layers and methods.

        Raises:
            OtherSettingsError: see `check`.
        """
        self.check(identity)
        known = self._identity()
        if {**known, **identity} != known:
            write_json(self.path / IDENTITY, {**known, **identity})

    def check(self, identity: Mapping[str, Any]) -> None:
        """Compares entries with those that the records were made under; see `bind`.

        Raises:
            OtherSettingsError: if an entry differs; says which setting or input has changed.
        """
        known = self._identity()
        for key, value in identity.items():
            if key in known and known[key] != value:
                raise _refusal(self.path, key, known, value)

    def _identity(self) -> dict[str, Any]:
        path = self.path / IDENTITY
        return read_json(path) if path.exists() else {}

    @property
    def bound(self) -> float:
        """Time when the folder was bound to its inputs, in seconds since the epoch; 0 if it was not."""
        path = self.path / IDENTITY
        return path.stat().st_mtime if path.exists() else 0.0

    def write_settings(
        self, config: str, selection: Selection, device: str, details: Mapping[str, Any]
    ) -> None:
        """Writes `config.yaml`, `selection.json` and `environment.json`: what is needed to run it again.

        Call it after `bind`, so that a refused command leaves the earlier settings in place.
        """
        with atomic_open(self.path / CONFIG) as file:
            file.write(config)
        # Unsorted: the order of layers and methods is the order of the tables.
        write_json(self.path / SELECTION, asdict(selection), sort_keys=False)
        write_json(self.path / ENVIRONMENT, {**environment(), "device": device, **details})

    def close(self) -> None:
        """Closes the files and releases the lock."""
        try:
            self.journal.close()
        finally:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Returns the versions that numbers may depend on."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": versions}


def _refusal(path: Path, key: str, known: Mapping[str, Any], new: Any) -> OtherSettingsError:
    old = known[key]
    hint = "use another name= for the new settings, or remove the folder"
    if key in _PARTS:
        changed = [words for part, words in _PARTS[key].items() if old.get(part) != new.get(part)]
        counts = f" ({old['images']} images, now {new['images']})" if key == PROBING_SET else ""
        reason = (
            f"{path} holds descriptions from other inputs; since then have changed: "
            f"{', '.join(changed)}{counts}"
        )
        if key == TARGET and old.get("weights") != new.get("weights"):
            hint += ". A network with random weights must set a seed, such as torch.manual_seed(0)"
    elif key.startswith("layer/"):
        # The hash of a layer combines all of these. Folders of earlier versions have no entry of inputs.
        inputs = "" if TARGET in known else "the weights, the preprocessing or the images changed, "
        reason = (
            f"{path} holds descriptions of other activations of layer {key.removeprefix('layer/')}: "
            f"{inputs}the layer is read in another way (layers, activations.pool, "
            "activations.keep_maps), or other images are unreadable"
        )
    else:
        reason = f"{path} holds descriptions made under other settings: {_difference(key, old, new)}"
    error = OtherSettingsError(reason, hint)
    error.entry = key
    return error


def _difference(key: str, old: Any, new: Any) -> str:
    """Names the first setting in which two identities differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return _difference(f"{key}.{name}", old.get(name), new.get(name))
    return f"{key} was {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
