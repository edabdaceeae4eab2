"""Bundles: what they contain, that their bytes are reproducible, and that bad ones are refused."""

import hashlib
import io
import json
import random
import shutil
import zipfile
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.metrics import ExactAccuracy, SynonymAccuracy
from dissectbench.results.leaderboard import bundle_of_run, read_bundle, reading, validate, write_bundle
from dissectbench.results.leaderboard.privacy import clean_text, cleaned

METRICS = [ExactAccuracy(), SynonymAccuracy()]


@pytest.fixture(scope="module")
def stored(repository):
    """The bundle of schema version 1, which every later version must read."""
    return repository / "tests/fixtures/bundle_schema_1.zip"


@pytest.fixture
def run_folder(repository, tmp_path):
    """A run of format 1, completed with what later commands record."""
    folder = tmp_path / "lovelace" / "run"
    shutil.copytree(repository / "tests/fixtures/run_format_1", folder)
    identity = json.loads((folder / "identity.json").read_text())
    identity["probing_set"] = {"images": 120, "fingerprint": "5e7"}
    (folder / "identity.json").write_text(json.dumps(identity))
    environment = json.loads((folder / "environment.json").read_text())
    environment["references"] = {"name": "tinyworld", "fingerprint": "7ef"}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(source, target, change, *, rehash=True):
    """Writes a bundle with changed files; `rehash` hides the change from the hashes."""
    files = contents(source)
    change(files)
    if rehash:
        manifest = json.loads(files["manifest.json"])
        for name in manifest["files"]:
            if name in files:
                manifest["files"][name]["sha256"] = hashlib.sha256(files[name]).hexdigest()
        files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def changed_json(files, name, change):
    value = json.loads(files[name])
    change(value)
    files[name] = json.dumps(value).encode()


def changed_table(files, name, change):
    rows = pq.read_table(io.BytesIO(files[name])).to_pylist()
    schema = pq.read_schema(io.BytesIO(files[name]))
    change(rows)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
    files[name] = buffer.getvalue()


def refusal(path):
    with pytest.raises(InputError) as caught:
        validate(read_bundle(path), METRICS)
    return str(caught.value)


def test_the_stored_bundle_of_version_1_is_valid(stored):
    bundle = read_bundle(stored)
    report = validate(bundle, METRICS)
    assert (report.descriptions, report.scores) == (24, 60)
    assert report.metrics == ["exact_accuracy", "synonym_accuracy"]
    assert bundle.info.target.name == "tinyworld-resnet"
    assert bundle.info.references is not None
    assert bundle.info.references.texts[0]


def test_writing_what_was_read_gives_the_same_bytes(stored, tmp_path):
    write_bundle(read_bundle(stored), tmp_path / "again.zip")
    # The files inside: another version of zlib may compress them in another way.
    first, second = contents(stored), contents(tmp_path / "again.zip")
    assert {**first, "manifest.json": b""} == {**second, "manifest.json": b""}


def test_a_run_gives_the_same_bundle_each_time(run_folder, tmp_path):
    for name in ("a.zip", "b.zip"):
        write_bundle(bundle_of_run(FinishedRun(run_folder)), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    bundle = read_bundle(tmp_path / "a.zip")
    validate(bundle, METRICS)
    assert bundle.id == bundle_of_run(FinishedRun(run_folder)).id
    assert [row.text for row in bundle.descriptions] == [d.text for d in FinishedRun(run_folder).records]


def test_an_unfinished_run_is_refused(run_folder):
    status = json.loads((run_folder / "status.json").read_text())
    (run_folder / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    with pytest.raises(InputError, match="was interrupted"):
        bundle_of_run(FinishedRun(run_folder))


def test_a_run_without_hashes_is_told_what_to_do(repository):
    with pytest.raises(InputError, match="rerun the same command"):
        bundle_of_run(FinishedRun(repository / "tests/fixtures/run_format_1"))


def test_neither_keys_nor_paths_of_the_computer_are_submitted(run_folder, tmp_path):
    with (run_folder / "config.yaml").open("a") as file:
        file.write("extra:\n  api_key: plain-words-of-a-key\n  note: sk-abcdefghijklmnop1234\n")
        file.write("  folder: /home/lovelace/photos\n  up: ../../lovelace/more\n")
        file.write("  base_url: https://lovelace:pw1234@host.example/v1?k=queryvalue\n")
    write_bundle(bundle_of_run(FinishedRun(run_folder)), tmp_path / "a.zip")
    everything = b"".join(contents(tmp_path / "a.zip").values())
    for secret in (
        b"plain-words",
        b"sk-abc",
        b"lovelace",
        b"pw1234",
        b"queryvalue",
        str(tmp_path).encode(),
    ):
        assert secret not in everything
    extra = read_bundle(tmp_path / "a.zip").info.settings["extra"]
    assert extra["folder"] == "photos"
    assert extra["base_url"] == "https://host.example/v1"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/ada/my photos/set", "set"),
        ("~/models/net.pt", "net.pt"),
        (r"C:\Users\ada\net.pt", "net.pt"),
        ("file:///srv/data/broden", "broden"),
        ("../../ada/net.pt", "net.pt"),
        ("cannot open '/tmp/a/b.png': denied", "cannot open 'b.png': denied"),
        ("/srv/models/mine.py:build", "mine.py:build"),
        ("hf_abcdefghijklmnopqrst", "(left out)"),
        ("Bearer abcdefgh12345678", "(left out)"),
        ("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
        ("package:dissectbench.datasets.tinyworld/weights/clip", None),
        ("NFKC, case folded, _ - / as spaces, runs of white space as one space", None),
        ("photos/set", None),
        ("https://host.example/v1", None),
    ],
)
def test_texts_are_cleaned_of_folders_and_keys(text, clean):
    assert clean_text(text) == (text if clean is None else clean)


def test_only_settings_that_are_keys_are_left_out():
    settings = {
        "key_variable": "X",
        "apiKey": "abc",
        "max_tokens": 5,
        "keep_candidates": 5,
        "token": None,
    }
    assert cleaned(settings) == {
        **settings,
        "key_variable": "(left out)",
        "apiKey": "(left out)",
    }


def test_a_truncated_bundle_is_refused(stored, tmp_path):
    content = stored.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.zip").write_bytes(content[:size])
        assert "truncated" in refusal(tmp_path / "cut.zip")


def test_every_flipped_byte_is_refused_or_harmless(stored, tmp_path):
    content, reference = stored.read_bytes(), read_bundle(stored)
    for place in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        (tmp_path / "flipped.zip").write_bytes(damaged)
        try:
            bundle = read_bundle(tmp_path / "flipped.zip")
        except InputError:
            continue
        # Times and attributes of entries are not content.
        assert bundle.id == reference.id


def test_a_changed_file_does_not_fit_its_hash(stored, tmp_path):
    def change(files):
        files["run.json"] = files["run.json"].replace(b"tinyworld-resnet", b"resnet50")

    path = rewritten(stored, tmp_path / "a.zip", change, rehash=False)
    assert "run.json was changed" in refusal(path)


def test_a_newer_version_is_named(stored, tmp_path):
    def change(files):
        changed_json(files, "manifest.json", lambda m: m.update(schema=2, written_by="dissectbench 9.0"))

    message = refusal(rewritten(stored, tmp_path / "a.zip", change))
    assert "schema 2, this version reads schema 1" in message
    assert "dissectbench 9.0" in message


@pytest.mark.parametrize("name", ["../run.json", "/tmp/run.json", "x/../../run.json", "extra.txt"])
def test_other_names_in_the_archive_are_refused(stored, tmp_path, name):
    path = rewritten(stored, tmp_path / "a.zip", lambda files: files.update({name: b"x"}))
    assert repr(name) in refusal(path)


def test_a_file_that_unpacks_to_too_much_is_refused(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 1_000_000)
    path = rewritten(
        stored, tmp_path / "a.zip", lambda files: files.update({"summary.json": b" " * 2_000_000})
    )
    assert "unpacks to" in refusal(path)


def test_a_table_of_too_many_rows_is_refused(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_ROWS", 20)
    assert "24 rows; at most 20" in refusal(stored)


def test_a_text_that_is_too_long_is_refused(stored, tmp_path):
    def change(files):
        changed_table(files, "descriptions.parquet", lambda rows: rows[0].update(text="a" * 200_000))

    assert "a text of 200,000 characters" in refusal(rewritten(stored, tmp_path / "a.zip", change))


def test_a_wrong_column_is_refused(stored, tmp_path):
    def change(files):
        table = pq.read_table(io.BytesIO(files["scores.parquet"]))
        buffer = io.BytesIO()
        pq.write_table(table.drop_columns(["score"]), buffer)
        files["scores.parquet"] = buffer.getvalue()

    assert "column 'score' must be double" in refusal(rewritten(stored, tmp_path / "a.zip", change))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("scores.parquet", lambda rows: rows[0].update(score=0.5), "the score is 0.5, but"),
        ("scores.parquet", lambda rows: rows[0].update(prediction="other"), "scored was 'other'"),
        ("scores.parquet", lambda rows: rows.pop(0), "unit 0 is missing from the scores"),
        ("scores.parquet", lambda rows: rows.append(rows[0]), "scored twice"),
        ("scores.parquet", lambda rows: rows[0].update(status="dead"), "reason"),
        ("scores.parquet", lambda rows: rows[0].update(control=True), "a control is named"),
        ("scores.parquet", lambda rows: rows[0].update(metric="other"), "not described"),
        ("descriptions.parquet", lambda rows: rows.append(rows[0]), "described 2 times"),
        ("descriptions.parquet", lambda rows: rows[0].update(unit=10**6), "not one of the units"),
        ("descriptions.parquet", lambda rows: rows[0].update(status="fine"), "unknown status"),
        ("descriptions.parquet", lambda rows: rows[0].update(seconds=-1.0), "negative"),
        ("descriptions.parquet", lambda rows: rows[0].update(seconds=float("nan")), "finite"),
        ("descriptions.parquet", lambda rows: rows.pop(0), "summary"),
    ],
)
def test_a_changed_table_is_refused(stored, tmp_path, name, change, reason):
    path = rewritten(stored, tmp_path / "a.zip", lambda files: changed_table(files, name, change))
    message = refusal(path)
    assert reason in message
    assert str(path) in message


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (
            "summary.json",
            lambda s: s["scores"]["clip_dissect"]["exact_accuracy"].update(mean=1.0),
            "mean",
        ),
        (
            "summary.json",
            lambda s: s["descriptions"]["fc"]["clip_dissect"].update(seconds=0.0),
            "seconds",
        ),
        ("summary.json", lambda s: s["scores"].pop("clip_dissect"), "recomputed"),
        ("run.json", lambda r: r["target"].pop("name"), "target.name"),
        ("run.json", lambda r: r["units"].update(fc=["a"]), "units.fc"),
        ("run.json", lambda r: r["layers"].pop("fc"), "different layers"),
        ("run.json", lambda r: r.update(references=None), "scores without references"),
        ("run.json", lambda r: r["target"].update(name="a\x1b[2J"), "control characters"),
        ("run.json", lambda r: r["units"]["layer4"].append(4), "listed twice"),
    ],
)
def test_changed_json_is_refused(stored, tmp_path, name, change, reason):
    path = rewritten(stored, tmp_path / "a.zip", lambda files: changed_json(files, name, change))
    message = refusal(path)
    assert reason in message
    assert "\x1b" not in message


def test_messages_have_no_control_characters(stored, tmp_path):
    def change(files):
        changed_table(files, "descriptions.parquet", lambda rows: rows[0].update(layer="\x1b[31mfc"))

    message = refusal(rewritten(stored, tmp_path / "a.zip", change))
    assert "[31mfc" in message
    assert "\x1b" not in message


def test_other_json_than_an_object_is_refused(stored, tmp_path):
    for content in (b"[]", b"NaN", b"[" * 100_000, b'{"a": NaN}', b"\xff"):
        path = rewritten(
            stored, tmp_path / "a.zip", lambda files, c=content: files.update({"run.json": c})
        )
        assert "run.json" in refusal(path) or "invalid JSON" in refusal(path)


def test_a_metric_of_another_definition_is_not_recomputed(stored):
    bundle = read_bundle(stored)
    metrics = {name: replace(info, identity={"v": 2}) for name, info in bundle.info.metrics.items()}
    report = validate(replace(bundle, info=replace(bundle.info, metrics=metrics)), METRICS)
    assert report.metrics == []


def outcome(path):
    refused = ""
    try:
        validate(read_bundle(path), METRICS)
    except InputError as error:
        refused = str(error)
    assert not refused or str(path) in refused
    return "refused" if refused else "valid"


def test_random_changes_of_tables_are_refused_or_harmless_but_never_an_exception(stored, tmp_path):
    rng, outcomes = random.Random(1), Counter()
    for _ in range(80):

        def change(files):
            name = rng.choice(["descriptions.parquet", "scores.parquet"])
            content = bytearray(files[name])
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            files[name] = bytes(content)

        path = rewritten(stored, tmp_path / "a.zip", change)
        outcomes[outcome(path)] += 1
    # Both occur: most changes are found, and some, such as of a date, make another valid bundle.
    assert outcomes["refused"] > 40
    assert outcomes["valid"] > 0


def _places(value, place=()):
    """The place of every value in a JSON document."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [place, *(inner for key, content in items for inner in _places(content, (*place, key)))]


def test_random_changes_of_json_are_refused_or_harmless_but_never_an_exception(stored, tmp_path):
    rng = random.Random(0)
    values = [None, 0, -1, 1.5, "", [], {}, "x", True, 10**30, {"a": 1}, ["a"]]
    outcomes = Counter()
    for _ in range(80):

        def change(files):
            name = rng.choice(["run.json", "summary.json"])
            content = json.loads(files[name])
            *folders, last = rng.choice(_places(content)[1:])
            inner = content
            for key in folders:
                inner = inner[key]
            if rng.random() < 0.3:
                del inner[last]
            else:
                inner[last] = rng.choice(values)
            files[name] = json.dumps(content).encode()

        path = rewritten(stored, tmp_path / "a.zip", change)
        outcomes[outcome(path)] += 1
    # Both occur: most changes are found, and some, such as of a date, make another valid bundle.
    assert outcomes["refused"] > 40
    assert outcomes["valid"] > 0
