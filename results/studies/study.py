"""Reads and writes the folder of a human study: its settings, tasks, images and private key.

    STUDY/
      study.yaml        public: the settings, and the hash of the design
      tasks.jsonl       public: what raters see, one task per line
      instructions.md   public: shown before the first task
      consent.md        public: shown before the instructions
      images/           public: files with opaque names
      key.csv           private: which description is whose, and the expected answers of checks
      secret.json       private: salt of rater ids, keys of completion codes and of the admin page
      answers.jsonl     what `study import` has read
      page.yaml         settings of the rating page, where they are not the defaults
      page.sqlite3      private: raters and answers of the rating page

A design is frozen: its hash, over the files from study.yaml to key.csv, is part of every file that is
exported, and answers to another design are refused.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from ...harness.errors import InputError, one_of
from ...harness.files import atomic_open, explained, file_digest, fingerprint, read_json

FORMAT = 1
SETTINGS, TASKS, KEY, SECRET, ANSWERS = (
    *("study.yaml", "tasks.jsonl", "key.csv", "secret.json"),
    "answers.jsonl",
)
INSTRUCTIONS, CONSENT, IMAGES = "instructions.md", "consent.md", "images"

Kind = Literal["rating", "correlation"]
Role = Literal["unit", "attention", "gold", "repeat"]


@dataclass(frozen=True)
class Task:
    """What a rater sees at once.

    Attributes:
        id: opaque name, unique in the study.
        images: file names in `images/`.
        descriptions: one text per slot, in the order of slots; slots are 1-based.
    """

    id: str
    images: tuple[str, ...]
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class KeyRow:
    """One row of `key.csv`: the method of one slot. A slot of several methods has several rows.

    Attributes:
        task_id: the task.
        role: "unit"; "attention" and "gold" (checks with an expected answer, which are no judgements);
            "repeat" (a unit's task shown again, for the consistency of raters; no judgement either).
        target: name of the target; "" for a check without one.
        layer: name of the layer; "" for a check without one.
        unit: index of the unit; None for a check without one.
        slot: number of the description, from 1.
        method: name of the method; "" for a text of a check that is no method's.
        expected: the answer that a check expects for this slot: "best" (chosen as the best), "high" and
            "low" (rated in the upper or lower part of the scale, not in its middle), "yes" and "no" (kind
            "correlation"); "" for none.
        repeats: the task that a repeated task repeats; "" otherwise.
    """

    task_id: str
    role: Role
    target: str
    layer: str
    unit: int | None
    slot: int
    method: str
    expected: str = ""
    repeats: str = ""


@dataclass(frozen=True)
class StudySettings:
    """The settings of a study, as `study.yaml` stores them.

    Attributes:
        kind: "rating": descriptions are rated from `scale[0]` to `scale[1]` and the best is chosen;
            "correlation": one image at a time, "does this description fit?".
        title: what raters read as the title.
        seed: seed of every random choice.
        raters_per_task: number of answers wanted of each task.
        methods: the methods, in the order of tables.
        layers: the layers, in the order of tables.
        units: how the units were chosen, in a sentence.
        sources: the runs and files that the descriptions are from: name, fingerprint.
        scale: lowest and highest rating.
        min_seconds: an answer in less time is flagged as too fast.
        reward_usd: paid for one answered task.
        fee: share of the reward that the platform adds.
        details: further settings of the kind of study.
    """

    kind: Kind
    title: str
    seed: int
    raters_per_task: int
    methods: tuple[str, ...]
    layers: tuple[str, ...]
    units: str = ""
    sources: tuple[Mapping[str, str], ...] = ()
    scale: tuple[int, int] = (1, 5)
    min_seconds: float = 10.0
    reward_usd: float = 0.0
    fee: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, get_args(Kind))


@dataclass(frozen=True)
class StudyFiles:
    """The content of a new study.

    Attributes:
        tasks: the tasks, in the order of batches.
        key: the rows of the key.
        images: content by file name, or a path that is copied.
        instructions: Markdown.
        consent: Markdown.
        tables: further private files of the design, as CSV text by file name.
    """

    tasks: Sequence[Task]
    key: Sequence[KeyRow]
    images: Mapping[str, bytes | Path]
    instructions: str
    consent: str
    tables: Mapping[str, str] = field(default_factory=dict)


def image_name(content: bytes, suffix: str) -> str:
    """Returns the opaque file name of an image: its hash, which contains neither layer nor unit."""
    return hashlib.sha256(content).hexdigest()[:24] + suffix


def task_id(seed: int, *parts: object) -> str:
    """Returns an opaque task id that depends on a seed and on what identifies the task."""
    return "t" + fingerprint([seed, *map(str, parts)])[:12]


class Study:
    """The folder of a study, opened for reading.

    Example:
        >>> study = Study("studies/demo")                                       # doctest: +SKIP
        >>> study.settings.kind, len(study.tasks)                               # doctest: +SKIP

    Raises:
        InputError: if the folder is no study, or a file of its design was changed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = self.path / SETTINGS
        if not file.is_file():
            raise InputError(
                f"{self.path} is not the folder of a study: it has no {SETTINGS}",
                "`dissectbench study design` writes one",
            )
        self.settings, self.design, self._digests = _read_settings(file)
        self._check_design()

    @property
    def images(self) -> Path:
        """The folder of the images."""
        return self.path / IMAGES

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks by id, in the order of the design."""
        # Not `splitlines`, which also splits at separators that a description may contain.
        lines = (self.path / TASKS).read_text(encoding="utf-8").split("\n")
        tasks = (json.loads(line) for line in lines if line)
        return {t["id"]: Task(t["id"], tuple(t["images"]), tuple(t["descriptions"])) for t in tasks}

    @cached_property
    def key(self) -> dict[str, list[KeyRow]]:
        """The rows of the private key by task, in the order of slots.

        Raises:
            InputError: if the key is missing, as in a study that was published without it.
        """
        path = self.path / KEY
        if not path.is_file():
            raise InputError(
                f"no such file: {path}", "the private key is needed; copy it into the folder"
            )
        rows: dict[str, list[KeyRow]] = {task: [] for task in self.tasks}
        for record in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
            row = _key_row(record)
            rows[row.task_id].append(row)
        return rows

    def table(self, name: str) -> list[dict[str, str]]:
        """Returns the rows of a further table of the design, such as `sample.csv`."""
        text = (self.path / name).read_text(encoding="utf-8")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    @cached_property
    def _secret(self) -> dict[str, str]:
        return read_json(self.path / SECRET)

    def rater(self, source: str, worker: str) -> str:
        """Returns the name of a rater in all results: a salted hash of where and who they are."""
        return self.sign("salt", f"{source}:{worker}")[:16]

    def sign(self, key: str, text: str) -> str:
        """Returns the HMAC-SHA256 (hex) of a text with a secret key: "salt", "completion" or "admin"."""
        return hmac.new(bytes.fromhex(self._secret[key]), text.encode(), hashlib.sha256).hexdigest()

    def _check_design(self) -> None:
        for name, digest in self._digests.items():
            path = self.path / name
            # A study may be published without its key.
            if path.exists() and file_digest(path) != digest:
                raise InputError(
                    f"{path} was changed after the study was designed",
                    "a design is frozen: restore the file, or design another study",
                )


def write_study(path: str | Path, settings: StudySettings, files: StudyFiles) -> Study:
    """Writes a new study; the folder appears complete or not at all.

    Writing the same design again changes nothing, so that an interrupted command can be rerun.

    Raises:
        InputError: if the folder exists and is not the same design, or cannot be written.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        _write_files(temporary, settings, files)
        if _is_occupied(path):
            return _same_study(path, Study(temporary).design)
        secret = {name: secrets.token_hex(32) for name in ("salt", "completion", "admin")}
        with atomic_open(temporary / SECRET) as file:
            json.dump(secret, file)
        (temporary / SECRET).chmod(0o600)
        with explained(path):
            # mkdtemp creates a folder that only the owner may read.
            temporary.chmod(0o755)
            temporary.rename(path)  # an empty folder is replaced
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Study(path)


def check_new_study(path: str | Path) -> None:
    """Checks that a study can be written to a folder, before images are made.

    Raises:
        InputError: if the folder holds something else than a study.
    """
    path = Path(path)
    if _is_occupied(path) and not (path / SETTINGS).is_file():
        raise _occupied(path)


def _occupied(path: Path) -> InputError:
    return InputError(
        f"{path} exists and holds something else",
        "a design is frozen: write to another folder with --out, or delete this one",
    )


def _is_occupied(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _same_study(path: Path, design: str) -> Study:
    if not (path / SETTINGS).is_file() or Study(path).design != design:
        raise _occupied(path)
    return Study(path)


def _write_files(folder: Path, settings: StudySettings, files: StudyFiles) -> None:
    images = folder / IMAGES
    with explained(folder):
        images.mkdir()
        for name, content in files.images.items():
            if isinstance(content, Path):
                shutil.copyfile(content, images / name)
            else:
                (images / name).write_bytes(content)
    tasks = "".join(json.dumps(asdict(task), ensure_ascii=False) + "\n" for task in files.tasks)
    texts = {TASKS: tasks, KEY: _key_text(files.key), INSTRUCTIONS: files.instructions}
    texts |= {CONSENT: files.consent, **files.tables}
    for name, text in texts.items():
        with atomic_open(folder / name) as file:
            file.write(text)
    digests = {name: file_digest(folder / name) for name in sorted(texts)}
    # By way of JSON, because YAML has no tuples.
    content = json.loads(json.dumps(asdict(settings)))
    content["files"] = digests
    content = {"format": FORMAT, "design": fingerprint(content), **content}
    with atomic_open(folder / SETTINGS) as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)


def _key_text(rows: Sequence[KeyRow]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in fields(KeyRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value is None else value for name, value in asdict(row).items()})
    return text.getvalue()


def _key_row(record: Mapping[str, str]) -> KeyRow:
    unit = int(record["unit"]) if record["unit"] else None
    values: dict[str, Any] = {**record, "slot": int(record["slot"]), "unit": unit}
    return KeyRow(**values)


def _read_settings(path: Path) -> tuple[StudySettings, str, dict[str, str]]:
    """Returns the settings, the hash of the design and the digest of each of its files."""
    try:
        content = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        version = content.pop("format", None)
        if version != FORMAT:
            raise InputError(f"{path}: format {version}, this version reads format {FORMAT}")
        design = content.pop("design")
        if fingerprint(content) != design:
            raise InputError(
                f"{path} was changed after the study was designed",
                "a design is frozen: restore the file, or design another study",
            )
        digests = content.pop("files")
        for name in ("methods", "layers", "sources", "scale"):
            content[name] = tuple(content[name])
        return StudySettings(**content), design, digests
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the settings of a study: {error}") from error
