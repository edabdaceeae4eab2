"""Tests that published checkpoints are read without running code in them, and damage is detected."""

import os
import pickle
import types
import zipfile
from collections import OrderedDict

import pytest
import torch
from published_milan import VOCABULARY, published_content

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.checkpoint_files import load_checkpoint


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "milan.pth"
    torch.save(published_content(), path)
    return path


def repacked(path, out, change):
    """Copies a zip file, each record as `change(name, content)` returns it."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


def with_pickle(path, out, pickled):
    return repacked(path, out, lambda name, old: pickled if name.endswith("data.pkl") else old)


class Call:
    """An object whose pickle is a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {marker}"),
        (eval, "open('{marker}', 'w')"),
        (exec, "open('{marker}', 'w')"),
        (os.mkdir, "{marker}"),
        (torch.load, "{marker}"),
        (torch.hub.load, "{marker}"),
        (types.SimpleNamespace, None),
    ],
)
def test_a_malicious_file_is_rejected_and_its_code_is_not_run(
    published, tmp_path, function, argument, protocol
):
    marker = tmp_path / "marker"
    arguments = () if argument is None else (argument.format(marker=marker),)
    pickled = pickle.dumps({"properties": Call(function, *arguments)}, protocol)
    path = with_pickle(published, tmp_path / "malicious.pth", pickled)
    with pytest.raises(InputError, match=rf"malicious\.pth was not opened.*\.{function.__name__}"):
        load_checkpoint(path)
    assert not marker.exists()


def overwriting(module: str, name: str, attribute: str) -> bytes:
    """Returns a pickle that sets an attribute of the replacement of `module.name`."""
    text = b"X" + len(attribute).to_bytes(4, "little") + attribute.encode()
    state = b"N}" + text + b"ccollections\nOrderedDict\ns\x86"  # (None, {attribute: OrderedDict})
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + state + b"b."


@pytest.mark.parametrize(
    ("module", "name", "attribute"),
    [
        ("torch._utils", "_rebuild_tensor_v2", "_function"),
        ("_codecs", "encode", "__call__"),
        ("thinc.config", "Config", "__setstate__"),
        ("collections", "OrderedDict", "__setstate__"),
    ],
)
def test_a_file_cannot_change_allowed_names_for_other_files(published, tmp_path, module, name, attribute):
    attack = overwriting(module, name, attribute)
    with pytest.raises(InputError):
        load_checkpoint(with_pickle(published, tmp_path / "attack.pth", attack))
    assert not hasattr(OrderedDict, "__setstate__")
    assert load_checkpoint(published).vocabulary == VOCABULARY


def test_numbers_beyond_a_record_are_not_read(published, tmp_path):
    def longer(name, old):
        if not name.endswith("data.pkl"):
            return old
        state = {"a": torch.zeros(4)}
        torch.save(state, tmp_path / "small.pth")
        with zipfile.ZipFile(tmp_path / "small.pth") as archive:
            pickled = archive.read("small/data.pkl")
        # The tensor's size, 4, becomes 200; the record stays as it is.
        assert pickled.count(b"K\x04\x85") == 1
        return pickled.replace(b"K\x04\x85", b"K\xc8\x85")

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(repacked(published, tmp_path / "beyond.pth", longer))
    shorter = repacked(
        published,
        tmp_path / "shorter.pth",
        lambda name, old: old[:-8] if name.endswith("data/3") else old,
    )
    with pytest.raises(InputError, match="record 3 has"):
        load_checkpoint(shorter)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_rejected(published, tmp_path, share):
    whole = published.read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.pth"):
        load_checkpoint(path)


def test_a_changed_byte_is_detected(published, tmp_path):
    whole = bytearray(published.read_bytes())
    weights = published_content()["state_dict"]["init_h.0.weight"].numpy().tobytes()
    whole[bytes(whole).index(weights) + 40] ^= 1
    (tmp_path / "changed.pth").write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "changed.pth")
