"""Tests data sets of annotated exemplars: folders and zip archives, with and without images."""

import json
import logging
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets import zip_archives
from dissectbench.datasets.image_folders import ImageFolder
from dissectbench.datasets.milannotations import annotation_references, read_annotations
from dissectbench.datasets.references import References
from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.exemplars import exemplar_pixels
from dissectbench.methods.milan.training.dataset import open_annotated

COUNT, SIZE = 3, 16
ROWS = """layer,unit,summary
conv1,0,red things
conv1,0,"red, round things"
conv1,0,apples
conv1,2,sky
conv1,2,the sky
conv1,2,blue
conv1,2,a fourth opinion
5,1,dogs
5,1,dog's noses
5,1,animals
5,0,only one opinion
"""


def write_layer(folder, n, *, images=True, units=None, ids=None):
    rng = np.random.default_rng(n)
    folder.mkdir(parents=True)
    np.save(folder / "masks.npy", rng.integers(0, 2, (n, COUNT, 1, SIZE, SIZE), np.uint8))
    if images:
        np.save(folder / "images.npy", rng.integers(0, 256, (n, COUNT, 3, SIZE, SIZE), np.uint8))
    if units is not None:
        np.save(folder / "units.npy", units)
    ids = rng.integers(0, 6, (n, COUNT)) if ids is None else ids
    np.savetxt(folder / "ids.csv", ids, fmt="%d", delimiter=",")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "alexnet-places"
    write_layer(folder / "conv1", 4)
    write_layer(folder / "5", 2)
    (folder / "annotations.csv").write_text(ROWS)
    return folder


@pytest.fixture
def validation_images(tmp_path):
    rng = np.random.default_rng(9)
    for number in range(6):
        folder = tmp_path / "val" / f"class{number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (30, 20 + 10 * number, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "val"


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def test_units_have_their_exemplars_and_their_first_three_annotations(data):
    opened = open_annotated(data)
    assert [(u.layer, u.unit, u.row) for u in opened.units] == [
        ("conv1", 0, 0),
        ("conv1", 2, 2),
        ("5", 1, 1),
    ]
    assert opened.texts[0] == ("red things", "red, round things", "apples")
    assert opened.texts[1] == ("sky", "the sky", "blue")
    assert (opened.dropped, len(opened)) == (1, 3)
    assert opened.settings == {"count": COUNT, "quantile": 0.01, "image_size": SIZE}
    images, masks = opened.exemplars(2)
    assert np.array_equal(images, np.load(data / "5" / "images.npy")[1])
    assert np.array_equal(masks, np.load(data / "5" / "masks.npy")[1])


def test_all_annotations_of_all_units_can_be_read(data):
    opened = open_annotated(data, per_unit=None)
    assert {(u.layer, u.unit): len(u.texts) for u in opened.units} == {
        ("conv1", 0): 3,
        ("conv1", 2): 4,
        ("5", 0): 1,
        ("5", 1): 3,
    }


def test_units_are_matched_by_index_not_by_row(data):
    shutil.rmtree(data / "conv1")
    write_layer(data / "conv1", 4, units=[7, 2, 5, 0])
    opened = open_annotated(data, layers=["conv1"])
    assert [(u.unit, u.row) for u in opened.units] == [(0, 3), (2, 1)]
    assert np.array_equal(opened.exemplars(1)[0], np.load(data / "conv1" / "images.npy")[1])


@pytest.mark.parametrize("prefix", ["", "alexnet-places/", "data/alexnet-places/"])
def test_a_zip_is_unpacked_once_and_reads_like_its_folder(data, tmp_path, prefix):
    path = zipped(data, tmp_path / "copy.zip", prefix)
    opened, again = open_annotated(path), open_annotated(path)
    original = open_annotated(data)
    assert opened.texts == again.texts == original.texts
    for index in range(len(original)):
        for a, b in zip(opened.exemplars(index), original.exemplars(index), strict=True):
            assert np.array_equal(a, b)
    assert (tmp_path / "copy" / "conv1" / "masks.npy").is_file()
    elsewhere = open_annotated(path, unpacked=tmp_path / "else" / "where")
    assert elsewhere.folders["5"].path == tmp_path / "else" / "where" / "5"


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_zip_is_an_error_and_leaves_no_files(data, tmp_path, part):
    path = zipped(data, tmp_path / "copy.zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(InputError, match=r"copy\.zip is not a zip archive, or is truncated"):
        open_annotated(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alexnet-places", "copy.zip"]


def test_a_zip_with_a_damaged_member_is_an_error_and_leaves_no_files(data, tmp_path):
    path = zipped(data, tmp_path / "copy.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("conv1/images.npy")
    content = bytearray(path.read_bytes())
    middle = info.header_offset + 200
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated"):
        open_annotated(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alexnet-places", "copy.zip"]


def test_a_zip_with_paths_outside_of_itself_is_rejected(data, tmp_path):
    path = zipped(data, tmp_path / "copy.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.txt", "boo")
    with pytest.raises(InputError, match=r"outside of itself: \.\./evil\.txt"):
        open_annotated(path)
    assert not (tmp_path.parent / "evil.txt").exists()
    assert not (tmp_path / "evil.txt").exists()


def with_declared_size(path, name, size):
    """Changes the size that the archive's directory declares for one file."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")
    while content[start + 46 :][: len(name)] != name.encode():
        start = content.index(b"PK\x01\x02", start + 1)
    content[start + 24 : start + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_than_declared_is_rejected(data, tmp_path, change):
    path = zipped(data, tmp_path / "copy.zip")
    size = (data / "conv1" / "masks.npy").stat().st_size
    with_declared_size(path, "conv1/masks.npy", size + change)
    with pytest.raises(InputError, match="truncated"):
        open_annotated(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alexnet-places", "copy.zip"]


@pytest.mark.parametrize("most", [1_000_000, 100_000_000])
def test_an_archive_of_far_larger_content_is_rejected(data, tmp_path, monkeypatch, most):
    monkeypatch.setattr(zip_archives, "UNCHECKED_SIZE", most)
    (data / "conv1" / "zeros.npy").write_bytes(bytes(20_000_000))
    path = zipped(data, tmp_path / "copy.zip")
    if most > 20_000_000:
        assert len(open_annotated(path)) == 3
        return
    with pytest.raises(InputError, match=r"(?s)copy\.zip has 0\.0 MB and unpacks to 20\.0 MB.*unpack it"):
        open_annotated(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alexnet-places", "copy.zip"]


def test_references_of_far_larger_content_are_rejected(data, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archives, "UNCHECKED_SIZE", 1_000_000)
    with (data / "annotations.csv").open("a") as file:
        file.write(" " * 20_000_000)
    with pytest.raises(InputError, match=r"copy\.zip has .* unpacks to 20\.0 MB"):
        read_annotations(zipped(data, tmp_path / "copy.zip"))


def test_an_archive_that_does_not_fit_on_the_disk_is_rejected(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"has 0\.0 MB of free space"):
        open_annotated(zipped(data, tmp_path / "copy.zip"))


def test_a_second_copy_of_an_archive_is_the_same_data_set(data, tmp_path):
    path = zipped(data, tmp_path / "copy.zip")
    first, second = (open_annotated(path, unpacked=tmp_path / n / "copy") for n in ("a", "b"))
    assert first.fingerprint() == second.fingerprint()


def test_other_files_are_rejected(data, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"contains no annotations\.csv"):
        open_annotated(other)
    (tmp_path / "weights.pth").write_bytes(b"PK")
    with pytest.raises(InputError, match="is not a data set"):
        open_annotated(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no such file or folder"):
        open_annotated(tmp_path / "missing.zip")
    with pytest.raises(InputError, match=r"no such file.*annotations\.csv"):
        open_annotated(data / "conv1")


def test_missing_exemplar_images_are_cropped_from_the_original_images(data, validation_images):
    expected = ImageFolder(validation_images)
    (data / "5" / "images.npy").unlink()
    for source in (validation_images, expected):
        opened = open_annotated(data, source)
        images, _ = opened.exemplars(2)
        ids = opened.folders["5"].ids[1].tolist()
        cropped = [exemplar_pixels(expected.image(index), SIZE) for index in ids]
        assert np.array_equal(images, np.stack(cropped))
    assert not np.array_equal(cropped[0], np.asarray(expected.image(ids[0]).resize((SIZE, SIZE))).T)


def test_missing_original_images_are_an_error(data, validation_images):
    (data / "5" / "images.npy").unlink()
    with pytest.raises(InputError, match=r"contains no images\.npy.*\n.*--images"):
        open_annotated(data)
    for path in (validation_images / "class2").iterdir():
        path.unlink()
    (validation_images / "class2").rmdir()
    np.savetxt(data / "5" / "ids.csv", [[0, 1, 2], [3, 4, 5]], fmt="%d", delimiter=",")
    with pytest.raises(InputError, match=r"refers to image 5, but val has 4 images"):
        open_annotated(data, validation_images)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("conv1,9,too far", r"annotates unit 9 of conv1, but .*conv1 has no exemplars of it"),
        ("conv2,0,nowhere", r"annotates the layer conv2, but there is no folder"),
        ("conv1,x,words", r"line 13, column unit: 'x' is not an integer"),
        ("conv1,1", r"line 13: 2 cells, the header has 3"),
    ],
)
def test_annotations_that_do_not_fit_are_an_error(data, row, message):
    (data / "annotations.csv").write_text(ROWS + row + "\n")
    with pytest.raises(InputError, match=message):
        open_annotated(data)


def test_layers_are_chosen_by_name(data):
    assert {u.layer for u in open_annotated(data, layers=["5"]).units} == {"5"}
    with pytest.raises(InputError, match=r"no layer 'conv'[\s\S]*did you mean conv1"):
        open_annotated(data, layers=["conv"])


def test_layers_with_different_numbers_of_exemplars_are_rejected(data):
    layer = data / "5"
    for name in ("masks.npy", "images.npy"):
        np.save(layer / name, np.load(layer / name)[:, :2])
    np.savetxt(layer / "ids.csv", np.zeros((2, 2)), fmt="%d", delimiter=",")
    with pytest.raises(InputError, match="count is 3 in alexnet-places, conv1, 2 in alexnet-places, 5"):
        open_annotated(data)


@pytest.mark.parametrize(("recorded", "quantile"), [(0.05, 0.05), (None, 0.01)])
def test_the_quantile_of_the_masks_is_read_from_their_record(data, recorded, quantile):
    for layer in ("conv1", "5"):
        if recorded:
            (data / layer / "exemplars.json").write_text(json.dumps({"settings": {"quantile": recorded}}))
    assert open_annotated(data).settings["quantile"] == quantile
    (data / "5" / "exemplars.json").write_text(json.dumps({"settings": {"quantile": 0.02}}))
    with pytest.raises(InputError, match=f"quantile is {quantile} in .*conv1, 0.02 in .*5"):
        open_annotated(data)


def test_blank_annotations_are_left_out_and_counted(data, caplog):
    (data / "annotations.csv").write_text(ROWS + "5,0,  \n5,0,another\n")
    assert read_annotations(data).blank == 1
    assert read_annotations(data).texts["5"][0] == ("only one opinion", "another")
    with caplog.at_level(logging.WARNING):
        open_annotated(data)
    assert "left out 1 units with fewer than 3 annotations, and 1 blank" in caplog.text


def test_the_fingerprint_changes_with_the_files(data):
    first = open_annotated(data).fingerprint()
    assert open_annotated(data).fingerprint() == first
    assert open_annotated(data, layers=["5"]).fingerprint() != first
    (data / "annotations.csv").write_text(ROWS.replace("apples", "pears"))
    assert open_annotated(data).fingerprint() != first
    (data / "annotations.csv").write_text(ROWS)
    np.save(data / "5" / "masks.npy", np.zeros((2, COUNT, 1, SIZE, SIZE), np.uint8))
    assert open_annotated(data).fingerprint() != first


def test_annotations_are_references_by_unit(data, tmp_path):
    path = zipped(data, tmp_path / "copy.zip", "inner/")
    for source in (data, data / "annotations.csv", path):
        references = annotation_references(source, "conv1", 4, name="people")
        assert references == References(
            "people",
            (("red things", "red, round things", "apples"), (), ("sky", "the sky", "blue"), ()),
        )
    assert len(annotation_references(data, "5")) == 2
    assert annotation_references(data, "conv1", per_unit=None).texts[2][3] == "a fourth opinion"
    with pytest.raises(InputError, match="unit 2 of conv1, which has 2 units"):
        annotation_references(data, "conv1", 2)


def test_annotations_are_a_choice_of_references(data):
    config = compose(["references=milannotations", f"references.path={data}", "final_layer=conv1"]).config
    references = build(config.references, "references")
    assert references == annotation_references(data, "conv1")
    assert len(references) == 3


def test_an_error_in_the_annotations_of_a_zip_names_the_zip(data, tmp_path):
    (data / "annotations.csv").write_text("layer,unit,text\nconv1,0,red\n")
    path = zipped(data, tmp_path / "copy.zip")
    with pytest.raises(InputError, match=r"copy\.zip/annotations\.csv, line 1: no column 'summary'"):
        read_annotations(path)
    (data / "annotations.csv").write_text("layer,unit,summary\n")
    with pytest.raises(InputError, match="contains no annotations"):
        read_annotations(data)
