"""A run's append-only files: nothing complete is lost, nothing torn is read."""

import json
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError
from dissectbench.harness.journal import Journal, read_descriptions, read_spent
from dissectbench.harness.records import Description, Spent, UnitId


def of(unit: int, text: str | None = "a red boat", **more) -> Description:
    return Description(UnitId("net", "fc", unit), "words", text, **more)


@given(st.integers(1, 200))
def test_a_torn_last_line_is_dropped_and_written_again(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "d.jsonl"
    with Journal(path) as journal:
        for unit in range(3):
            journal.append(of(unit))
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    path.write_bytes(whole[: -min(cut, last)])
    with Journal(path) as journal:
        assert [unit.index for unit, _ in journal.latest] == [0, 1]
        journal.append(of(2))
    assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(of(0).to_json() + "\n{oops}\n" + of(2).to_json() + "\n")
    with pytest.raises(InputError, match=r"d\.jsonl, line 2"):
        list(read_descriptions(path))
    with pytest.raises(InputError, match=r"d\.jsonl, line 2"):
        Journal(path)


def test_a_newer_schema_is_refused(tmp_path):
    record = {**json.loads(of(0).to_json()), "schema": 99}
    (tmp_path / "d.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="schema 99"):
        list(read_descriptions(tmp_path / "d.jsonl"))


def test_a_later_record_replaces_an_earlier_one(tmp_path):
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0, None, status="failed", evidence={"reason": "no answer"}))
        journal.append(of(0))
    with Journal(tmp_path / "d.jsonl") as journal:
        assert journal.latest[UnitId("net", "fc", 0), "words"].text == "a red boat"


def test_what_a_description_took_is_not_part_of_its_record(tmp_path):
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        with Journal(tmp_path / name / "d.jsonl") as journal:
            journal.append(replace(of(0), seconds=seconds, cost_usd=0.25))
    first, second = ((tmp_path / name / "d.jsonl").read_bytes() for name in ("one", "two"))
    assert first == second
    assert read_spent(tmp_path / "two" / "spent.jsonl") == {
        (UnitId("net", "fc", 0), "words"): Spent(2.0, 0.25)
    }


def test_a_second_attempt_adds_to_what_the_first_took(tmp_path):
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0, None, status="failed", seconds=1.0, cost_usd=0.5))
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0, seconds=2.0, cost_usd=0.25))
        journal.append(of(1, seconds=4.0))
    assert read_spent(tmp_path / "spent.jsonl") == {
        (UnitId("net", "fc", 0), "words"): Spent(3.0, 0.75),
        (UnitId("net", "fc", 1), "words"): Spent(4.0, 0.0),
    }


def test_a_torn_entry_of_what_was_spent_is_ignored_and_cut_off(tmp_path):
    path = tmp_path / "spent.jsonl"
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0, seconds=1.0))
    path.write_bytes(path.read_bytes() + b'{"seconds": 3')
    assert read_spent(path) == {(UnitId("net", "fc", 0), "words"): Spent(1.0)}
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(1, seconds=2.0))
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 1]


def test_a_damaged_entry_of_what_was_spent_is_named(tmp_path):
    (tmp_path / "spent.jsonl").write_text('{"seconds": 1}\n')
    with pytest.raises(InputError, match=r"spent\.jsonl, line 1"):
        read_spent(tmp_path / "spent.jsonl")


def test_a_run_without_entries_has_spent_nothing(tmp_path):
    assert read_spent(tmp_path / "spent.jsonl") == {}


@contextmanager
def full_disk(path: Path):
    """Makes the operating system refuse to write to an open file, with the error of a full disk."""
    links = {int(fd.name): fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
    (number,) = (fd for fd, target in links.items() if target == path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, number)
    os.close(full)
    yield


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["d.jsonl", "spent.jsonl"])
def test_a_full_disk_is_reported_as_a_sentence(tmp_path, name):
    with (
        pytest.raises(InputError, match=rf"(?s)cannot write .*{name}.*the disk is full"),
        Journal(tmp_path / "d.jsonl") as journal,
        full_disk(tmp_path / name),
    ):
        journal.append(of(0))
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0))
    assert [d.unit.index for d in read_descriptions(tmp_path / "d.jsonl")] == [0]


def test_a_record_that_cannot_be_written_leaves_no_trace(tmp_path):
    with Journal(tmp_path / "d.jsonl") as journal:
        with pytest.raises(ValueError, match="JSON compliant"):
            journal.append(of(0, score=float("nan"), seconds=1.0))
        journal.append(of(1))
    assert [d.unit.index for d in read_descriptions(tmp_path / "d.jsonl")] == [1]
    assert len(read_spent(tmp_path / "spent.jsonl")) == 1
