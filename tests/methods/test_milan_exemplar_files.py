"""Tests exemplars on disk: the published layout, resuming, damaged files."""

import json

import numpy as np
import pytest
from memory_images import ImageArray, ImageArrayLayer

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.milan import exemplar_files as module
from dissectbench.methods.milan.exemplar_files import read_exemplars, write_exemplars
from dissectbench.methods.milan.settings import ExemplarSettings

SMALL = ExemplarSettings(count=3, quantile=0.1, image_size=16)


def layer_of(interrupt_at=None, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((30, 4, 3, 3)).astype(np.float32)
    pixels = rng.integers(0, 256, (30, 3, 16, 16), np.uint8)
    return ImageArrayLayer(maps, ImageArray(pixels, interrupt_at), Cache("never-written"), name="conv")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_files_are_those_of_the_reference(shared, tmp_path):
    folder = shared / "golden" / "milan"
    inputs, results = folder / "exemplar_inputs.npz", folder / "exemplar_expected.npz"
    with np.load(inputs) as given, np.load(results) as expected:
        layer = ArrayLayer(given["activations"], ImageArray(given["images"]), Cache("never-written"))
        written = write_exemplars(layer, tmp_path / "conv", ExemplarSettings(variant="official"))
        assert written.masks.shape == (6, 15, 1, 224, 224)
        assert (written.masks != expected["masks_q99_zero"]).sum() <= 25
    for name in ("ids.csv", "activations.csv"):
        published = (folder / f"exemplar_{name}").read_text().split()
        assert (tmp_path / "conv" / name).read_text().split() == published
    assert not (tmp_path / "conv" / "units.npy").exists()


def test_exemplars_are_read_memory_mapped_as_they_were_written(tmp_path):
    layer = layer_of()
    write_exemplars(layer, tmp_path / "conv", SMALL, units=[3, 1])
    exemplars = read_exemplars(tmp_path / "conv")
    assert isinstance(exemplars.masks, np.memmap)
    assert isinstance(exemplars.images, np.memmap)
    assert exemplars.units.tolist() == [3, 1]
    assert exemplars.ids[0].tolist() == np.argsort(-layer.maxima[:, 3])[:3].tolist()
    assert np.array_equal(exemplars.images[0], layer.probe.pixels[exemplars.ids[0]])
    assert exemplars.image_size == 16
    assert exemplars.meta is not None
    assert exemplars.meta["settings"] == SMALL.identity()
    assert exemplars.activations is not None
    np.testing.assert_allclose(exemplars.activations[1], -np.sort(-layer.maxima[:, 1])[:3], rtol=1e-5)


@pytest.mark.parametrize("interrupt_at_rank", [0, 3, -1])
def test_interrupted_writing_resumes(tmp_path, monkeypatch, interrupt_at_rank):
    monkeypatch.setattr(module, "_SAVE_AFTER", 0)
    whole = write_exemplars(layer_of(), tmp_path / "whole", SMALL)
    order = np.unique(whole.ids)
    interrupt_at = int(order[interrupt_at_rank])
    with pytest.raises(KeyboardInterrupt):
        write_exemplars(layer_of(interrupt_at), tmp_path / "again", SMALL)
    assert not (tmp_path / "again").exists()
    layer = layer_of()
    write_exemplars(layer, tmp_path / "again", SMALL)
    first = max(0, order.tolist().index(interrupt_at) - 1)  # the last image done may be done again
    assert layer.probe.opened == order[first:].tolist()
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    assert not (tmp_path / "again.part").exists()


def test_a_part_with_other_settings_is_not_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SAVE_AFTER", 0)
    whole = write_exemplars(layer_of(), tmp_path / "whole", SMALL)
    with pytest.raises(KeyboardInterrupt):
        write_exemplars(
            layer_of(int(whole.ids.max())), tmp_path / "again", ExemplarSettings(count=3, image_size=16)
        )
    write_exemplars(layer_of(), tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_existing_exemplars_are_not_written_again(tmp_path):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    layer = layer_of()
    write_exemplars(layer, tmp_path / "conv", SMALL)
    assert layer.probe.opened == []


def test_other_exemplars_are_not_overwritten(tmp_path):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    before = contents(tmp_path / "conv")
    with pytest.raises(InputError, match="different settings"):
        write_exemplars(layer_of(), tmp_path / "conv", ExemplarSettings(count=2, image_size=16))
    with pytest.raises(InputError, match="different activations"):
        write_exemplars(layer_of(seed=1), tmp_path / "conv", SMALL)
    assert contents(tmp_path / "conv") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(InputError, match="was not written by dissectbench"):
        write_exemplars(layer_of(), tmp_path / "mine", SMALL)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "conv").mkdir()
    assert write_exemplars(layer_of(), tmp_path / "conv", SMALL).masks.shape == (4, 3, 1, 16, 16)


def test_a_full_disk_is_an_input_error(tmp_path, monkeypatch):
    def full(self, row, rank, item):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.PreallocatedArray, "write", full)
    with pytest.raises(InputError, match="No space left"):
        write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    monkeypatch.undo()
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)


def test_dead_units_are_recorded(tmp_path):
    maps = np.random.default_rng(0).random((30, 3, 2, 2), np.float32)
    maps[:, 1] = 0.5
    layer = ArrayLayer(maps, ImageArray(np.zeros((30, 3, 16, 16), np.uint8)), Cache("never-written"))
    exemplars = write_exemplars(layer, tmp_path / "conv", SMALL)
    assert exemplars.meta is not None
    assert exemplars.meta["dead"] == [1]
    assert not exemplars.masks[1].any()


def test_values_that_are_not_finite_are_an_error(tmp_path):
    maps = np.ones((5, 2), np.float32)
    maps[3, 1] = np.inf
    layer = ArrayLayer(maps, ImageArray(np.zeros((5, 3, 8, 8), np.uint8)), Cache("never-written"))
    with pytest.raises(InputError, match="unit 1 are not all finite"):
        write_exemplars(layer, tmp_path / "conv", SMALL)
    with pytest.raises(ValueError, match="no units"):
        write_exemplars(layer, tmp_path / "conv", SMALL, units=[])


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _as_float(path):
    np.save(path, np.load(path).astype(np.float32))


def _drop_exemplar(path):
    np.save(path, np.load(path)[:, :2])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("masks.npy", _truncate, "masks.npy is truncated"),
        ("images.npy", _truncate, "images.npy is truncated"),
        ("masks.npy", _as_float, "contains float32"),
        ("masks.npy", _drop_exemplar, r"ids.csv has the shape \[2, 3\]"),
        ("images.npy", _drop_exemplar, "images.npy has the shape"),
        ("masks.npy", lambda path: path.unlink(), "masks.npy is missing"),
        ("ids.csv", lambda path: path.write_text("1,2\n3\n"), "not a table"),
        ("ids.csv", lambda path: path.write_text("1,2,x\n3,4,5\n"), "not a table"),
        ("activations.csv", lambda path: path.write_text("1\n2\n"), "activations.csv has the shape"),
        ("units.npy", lambda path: np.save(path, [1, 1]), "twice"),
        ("units.npy", lambda path: np.save(path, [1, 2, 3]), "expected 2 integers"),
        ("units.npy", lambda path: np.save(path, [0.5, 1.5]), "expected 2 integers"),
        ("units.npy", _truncate, "units.npy is truncated"),
        ("exemplars.json", lambda path: path.write_text("{"), "not valid JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, damage, message):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL, units=[2, 0])
    damage(tmp_path / "conv" / file)
    with pytest.raises(InputError, match=message):
        read_exemplars(tmp_path / "conv")


def test_the_folder_of_all_layers_is_not_a_layer(tmp_path):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    with pytest.raises(InputError, match=r"give the folder of a layer, such as .*conv"):
        read_exemplars(tmp_path)


def test_the_files_of_the_published_program_are_sufficient(tmp_path):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    for name in ("exemplars.json", "images.npy", "activations.csv"):
        (tmp_path / "conv" / name).unlink()
    np.save(tmp_path / "conv" / "masks.npy", np.load(tmp_path / "conv" / "masks.npy").astype(bool))
    exemplars = read_exemplars(tmp_path / "conv")
    assert (exemplars.images, exemplars.activations, exemplars.meta) == (None, None, None)
    assert exemplars.units.tolist() == [0, 1, 2, 3]
    assert exemplars.masks.dtype == np.uint8


def test_the_source_of_exemplars_is_recorded(tmp_path):
    write_exemplars(layer_of(), tmp_path / "conv", SMALL)
    meta = json.loads((tmp_path / "conv" / "exemplars.json").read_text())
    assert (meta["target"], meta["layer"], meta["units"]) == ("arrays", "conv", [0, 1, 2, 3])
