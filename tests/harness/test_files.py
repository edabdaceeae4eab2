"""Tests atomic writing of files, and fingerprints."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError, nearest
from dissectbench.harness.files import (
    atomic_open,
    atomic_path,
    file_digest,
    fingerprint,
    read_json,
    write_json,
)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail_halfway():
        with atomic_open(path) as file:
            file.write("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_an_error_of_the_operating_system_has_a_message_and_a_hint(tmp_path, code):
    path = tmp_path / "table.csv"

    def write():
        with atomic_path(path):
            raise OSError(code, "refused")

    with pytest.raises(InputError, match=r"cannot write .*table\.csv") as caught:
        write()
    assert caught.value.hint
    assert not path.exists()


def test_a_file_in_place_of_a_folder_has_a_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "file" / "x.json", 1)


WRITE_MANY = """
import sys
from dissectbench.harness.files import atomic_open
for _ in range(50):
    with atomic_open(sys.argv[1]) as file:
        file.write(sys.argv[2] * 100_000)
"""


def test_the_output_of_two_writers_is_never_mixed(tmp_path):
    path = tmp_path / "shared.txt"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE_MANY, str(path), letter]) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert set(path.read_text()) in ({"a"}, {"b"})
    assert len(path.read_text()) == 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["shared.txt"]


def test_the_message_about_invalid_json_has_the_line(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n oops}')
    with pytest.raises(InputError, match=r"x\.json.*line 2"):
        read_json(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")


def test_json_never_contains_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert not (tmp_path / "x.json").exists()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_fingerprint_ignores_the_order_of_keys(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


def test_fingerprints_are_the_same_in_every_version():
    # Stored activations and cached results are found by their fingerprints.
    assert fingerprint({"b": [1, 2.5], "a": "ü"}) == (
        "75151e181452ee19f62c437a12e96bbbe4453c199f041abfe6b18ab3cb8f3c4f"
    )


def test_a_digest_is_the_hash_of_the_content(tmp_path):
    path = Path(tmp_path / "x")
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_suggestions_are_a_question():
    assert nearest("layr4", ["layer4"]) == "did you mean layer4?"
    assert nearest("layr4", ["layer4", "layer3", "fc"]) == "did you mean layer4 or layer3?"
    assert nearest("zzz", ["layer4"]) == ""
