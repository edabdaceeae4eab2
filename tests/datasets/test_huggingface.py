"""Hugging Face data sets: from a folder or the cache, never from the network."""

import pickle
import shutil
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.huggingface import HuggingFace
from dissectbench.harness.errors import InputError, UnreadableImageError

hub = pytest.importorskip("datasets")


def png(colour, size=(4, 2)):
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def table():
    """Five rows; the last image cannot be decoded."""
    cells = [png((50 * i, 0, 0)) for i in range(4)] + [b"not an image"]
    features = hub.Features(
        image=hub.Image(),
        label=hub.ClassLabel(names=["cat", "dog"]),
        word=hub.Value("string"),
        n=hub.Value("int64"),
    )
    rows = {
        "image": [{"bytes": cell, "path": None} for cell in cells],
        "label": [1, 0, 1, 0, 0],
        "word": ["sea", "ant", "sea", "elk", "ant"],
        "n": [1, 2, 3, 4, 5],
    }
    return hub.Dataset.from_dict(rows, features=features)


@pytest.fixture
def saved(table, tmp_path):
    hub.DatasetDict(train=table, test=table.select([0])).save_to_disk(tmp_path / "pets")
    return str(tmp_path / "pets")


def test_a_saved_table_is_read_with_its_classes(saved):
    probe = HuggingFace(saved, "train", label_column="label", annotations="classes")
    assert (probe.name, len(probe), probe.classes) == ("pets", 5, ("cat", "dog"))
    assert probe.labels is not None
    assert probe.labels.tolist() == [1, 0, 1, 0, 0]
    assert np.asarray(probe.image(2))[0, 0].tolist() == [100, 0, 0]
    assert probe.annotations is not None
    assert probe.annotations.of(2).whole == (2,)
    assert len(HuggingFace(saved, "test")) == 1


def test_one_saved_split_and_a_folder_of_parquet_files_are_read(table, tmp_path):
    table.save_to_disk(tmp_path / "one")
    assert len(HuggingFace(str(tmp_path / "one"), "train")) == 5
    (tmp_path / "files").mkdir()
    table.to_parquet(str(tmp_path / "files" / "train.parquet"))
    probe = HuggingFace(str(tmp_path / "files"), "train", label_column="label")
    assert probe.classes == ("cat", "dog")
    assert np.asarray(probe.image(3))[0, 0].tolist() == [150, 0, 0]


def test_strings_are_classes_in_sorted_order(saved):
    probe = HuggingFace(saved, "train", label_column="word")
    assert probe.classes == ("ant", "elk", "sea")
    assert probe.labels is not None
    assert probe.labels.tolist() == [2, 0, 2, 1, 0]


def test_binary_columns_can_contain_images(tmp_path):
    hub.Dataset.from_dict({"raw": [png((9, 9, 9))]}).save_to_disk(tmp_path / "raw")
    probe = HuggingFace(str(tmp_path / "raw"), "train", image_column="raw")
    assert np.asarray(probe.image(0))[0, 0].tolist() == [9, 9, 9]


def test_the_error_for_an_undecodable_image_names_its_row(saved):
    probe = HuggingFace(saved, "train")
    with pytest.raises(UnreadableImageError, match=r"pets\[train\] row 4: not an image file"):
        probe.image(4)


def test_a_limit_selects_images_with_their_labels(saved):
    whole = HuggingFace(saved, "train", label_column="label")
    probe = HuggingFace(saved, "train", label_column="label", limit=3, seed=None)
    assert whole.labels is not None
    assert probe.labels is not None
    assert probe.labels.tolist() == whole.labels[:3].tolist()
    assert probe.locate(2) == whole.locate(2)
    assert probe.fingerprint() != whole.fingerprint()


@pytest.mark.parametrize("identity", ["stat", "content"])
def test_a_copy_has_the_same_fingerprint_and_another_split_has_not(saved, tmp_path, identity):
    shutil.copytree(saved, tmp_path / "copy")
    original = HuggingFace(saved, "train", identity=identity).fingerprint()
    assert original == HuggingFace(str(tmp_path / "copy"), "train", identity=identity).fingerprint()
    assert original != HuggingFace(saved, "test", identity=identity).fingerprint()


def test_the_fingerprint_of_a_table_in_memory_depends_on_its_contents(saved, monkeypatch):
    monkeypatch.setattr("datasets.config.IN_MEMORY_MAX_SIZE", 1 << 20)
    probe, other = HuggingFace(saved, "train"), HuggingFace(saved, "train", limit=4, seed=None)
    assert not probe._table.cache_files
    assert probe.fingerprint() == HuggingFace(saved, "train").fingerprint()
    assert probe.fingerprint() != other.fingerprint()


def test_a_set_can_be_pickled(saved):
    probe = HuggingFace(saved, "train", annotations="colours")
    copy = pickle.loads(pickle.dumps(probe))
    assert copy.image(1).tobytes() == probe.image(1).tobytes()
    assert copy.fingerprint() == probe.fingerprint()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tran"}, r"no split 'tran'; it has train, test"),
        ({"image_column": "img"}, r"image_column: .* has no column 'img'.*\n.*did you mean image"),
        ({"image_column": "n"}, "contains .*int64.*, not images"),
        ({"label_column": "labels"}, "label_column: .* has no column 'labels'"),
        ({"label_column": "n"}, "not class labels or strings"),
        ({"annotations": "classes"}, "no class labels"),
    ],
)
def test_the_error_for_a_missing_split_or_column_lists_the_existing_ones(saved, settings, message):
    with pytest.raises(InputError, match=message):
        HuggingFace(**{"path_or_name": saved, "split": "train", **settings})


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot load the data set"):
        HuggingFace(str(tmp_path), "train")


def test_the_error_without_the_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"dissectbench\[hf-datasets\]"):
        HuggingFace("pets", "train")


def test_rows_without_a_label_are_refused(tmp_path):
    table = hub.Dataset.from_dict(
        {"image": [png(0)], "label": [None]},
        features=hub.Features(image=hub.Image(), label=hub.ClassLabel(names=["cat"])),
    )
    table.save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(InputError, match="rows without a label"):
        HuggingFace(str(tmp_path / "unlabelled"), "train", label_column="label")


def test_a_cached_set_is_found_by_name_and_a_missing_one_is_not_downloaded(table, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "pets").mkdir()
    table.to_parquet(str(tmp_path / "pets" / "train.parquet"))
    hub.load_dataset(str(tmp_path / "pets"), cache_dir=str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "pets")
    (config,) = [path.name for path in (tmp_path / "cache" / "pets").iterdir()]
    probe = HuggingFace("pets", "train", config=config)
    assert len(probe) == 5
    with pytest.raises(InputError, match=r"cannot load the data set 'someone/missing'"):
        HuggingFace("someone/missing", "train")
