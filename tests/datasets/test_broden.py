"""Reading Broden: the content, and errors that name file and line."""

import csv
import json
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dissectbench.datasets.broden import Broden, read_catalogue
from dissectbench.datasets.probing_set import Label
from dissectbench.harness.errors import InputError, UnreadableImageError


@pytest.fixture(scope="session")
def reference(shared):
    return shared / "golden" / "netdissect"


@pytest.fixture(scope="session")
def tiny(reference):
    return Broden(reference / "broden_tiny")


@pytest.fixture(scope="session")
def expected(reference):
    return json.loads((reference / "expected.json").read_text(encoding="utf-8"))


def labelled(probe):
    assert probe.annotations is not None
    return probe.annotations


def annotations_of(probe):
    return [labelled(probe).of(i) for i in range(len(probe))]


# --- the reference data ----------------------------------------------------------------------------


def test_images_splits_and_labels_match_the_facts_of_the_reference_data(tiny, expected):
    facts = expected["meta"]["dataset_facts"]
    annotations, entries = annotations_of(tiny), tiny.entries
    assert len(tiny) == facts["images"]
    assert Counter(entry.split for entry in entries) == facts["splits"]
    assert list(tiny.annotations.categories) == expected["meta"]["categories"]
    assert len(tiny.annotations.labels) == facts["largest_label"]
    several = [i for i, entry in enumerate(entries) if len(entry.whole) > 1]
    assert several == facts["rows_with_several_scalar_labels"]
    parts = [sum("_part_" in plane for plane in entry.planes) for entry in entries]
    assert [i for i, n in enumerate(parts) if n > 1] == facts["rows_with_several_part_planes"]
    colours = [any("_color" in plane for plane in entry.planes) for entry in entries]
    assert [i for i, has in enumerate(colours) if not has] == facts["rows_with_empty_color_cell"]
    assert all(not annotations[i].whole for i in facts["rows_with_a_zero_token"])
    present = set(np.unique(np.concatenate([a.planes.ravel() for a in annotations])).tolist())
    present |= {n for a in annotations for n in a.whole}
    assert sum(n > 255 for n in present) == facts["labels_above_255"]


def test_labels_have_the_primary_categories_of_the_reference_data(tiny, expected):
    categories = {str(label.number): label.category for label in tiny.annotations.labels}
    assert categories == expected["primary_category"]
    tie = expected["meta"]["dataset_facts"]["coverage_tie"]
    assert categories[str(tie["number"])] == tie["primary"]


def test_every_labelled_pixel_of_the_reference_data_is_counted(tiny, reference):
    truth = np.zeros(277, dtype=np.int64)
    unique = np.zeros(277, dtype=np.int64)
    for annotation in annotations_of(tiny):
        assert annotation.planes.dtype == np.int32
        assert annotation.planes.shape[1:] == annotation.shape == (32, 32)
        truth += np.bincount(annotation.planes.ravel(), minlength=277)
        for number in range(1, 277):
            unique[number] += (
                (annotation.planes == number).any(axis=0).sum() if annotation.planes.size else 0
            )
        for number in annotation.whole:
            truth[number] += 32 * 32
            unique[number] += 32 * 32
    truth[0] = 0
    with np.load(reference / "tally_conv_q005_exact_linear.npz") as tally:
        assert truth.tolist() == tally["truth"].tolist()
        assert unique.tolist() == tally["truth_unique"].tolist()
    # Pixels that carry the same label in several planes.
    repeated = truth - unique
    assert {int(n): int(repeated[n]) for n in np.flatnonzero(repeated)} == {43: 10, 23: 357, 19: 77}


def test_images_are_read_as_rgb(tiny):
    assert tiny.image(0).size == (64, 64)
    assert tiny.image(0).mode == "RGB"
    assert tiny.locate(2).endswith("opensurfaces/1838.jpg")


# --- a small Broden folder -------------------------------------------------------------------------


def write(root, name, *rows):
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def plane(root, name, numbers):
    numbers = np.asarray(numbers)
    pixels = np.stack([numbers % 256, numbers // 256, np.full_like(numbers, 7)], axis=-1)
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


INDEX = ["image", "split", "ih", "iw", "sh", "sw", "object", "part", "scene"]
LABELS = [(1, "dog"), (2, "leg"), (3, "street-s"), (4, "lamp")]


@pytest.fixture
def root(tmp_path):
    """Three images of 4 x 6 pixels, four labels; "lamp" has the same coverage as object and as part."""
    write(
        tmp_path,
        "index.csv",
        INDEX,
        ["a.jpg", "train", 4, 6, 2, 3, "s/a_o.png", "s/a_p1.png;s/a_p2.png", "3"],
        ["b.jpg", "val", 4, 6, 2, 3, "s/b_o.png", "", "0"],
        ["c.jpg", "val", 4, 6, 2, 3, "", "", "3;0;1"],
    )
    write(tmp_path, "category.csv", ["name"], ["object"], ["part"], ["scene"])
    write(tmp_path, "label.csv", ["number", "name"], *LABELS)
    header = ["code", "number", "name", "coverage"]
    write(tmp_path, "c_object.csv", header, [1, 1, "dog", 0.5], [2, 4, "lamp", 0.25])
    write(tmp_path, "c_part.csv", header, [1, 4, "lamp", 0.25], [2, 2, "leg", 0.1])
    write(tmp_path, "c_scene.csv", header, [1, 3, "street-s", 2])
    plane(tmp_path, "s/a_o.png", [[1, 1, 4], [0, 0, 0]])
    plane(tmp_path, "s/a_p1.png", [[2, 0, 0], [0, 0, 0]])
    plane(tmp_path, "s/a_p2.png", [[0, 0, 4], [0, 2, 2]])
    plane(tmp_path, "s/b_o.png", [[0, 0, 0], [4, 4, 4]])
    for k, name in enumerate("abc"):
        Image.new("RGB", (6, 4), (80 * k, 0, 0)).save(tmp_path / "images" / f"{name}.jpg")
    return tmp_path


def test_planes_whole_image_labels_and_zero_tokens_are_read(root):
    first, second, third = annotations_of(Broden(root))
    assert first.planes.tolist() == [
        [[1, 1, 4], [0, 0, 0]],
        [[2, 0, 0], [0, 0, 0]],
        [[0, 0, 4], [0, 2, 2]],
    ]
    assert first.whole == (3,)
    assert second.whole == ()
    assert third.planes.shape == (0, 2, 3)
    assert third.whole == (3, 1)


def test_the_last_of_the_categories_with_equal_coverage_is_primary(root):
    labels = labelled(Broden(root)).labels
    assert [label.category for label in labels] == ["object", "part", "scene", "part"]
    write(root, "c_object.csv", ["number", "coverage"], [1, 0.5], [4, 0.26])
    assert labelled(Broden(root)).labels[3].category == "object"


@pytest.fixture(scope="module")
def many_labels(tmp_path_factory):
    """One image of 2 x 3 label pixels, and as many labels as two bytes can number."""
    folder = tmp_path_factory.mktemp("many")
    numbers = range(1, 0x10000)
    write(folder, "index.csv", INDEX[:7], ["a.jpg", "train", 4, 6, 2, 3, "a.png"])
    write(folder, "category.csv", ["name"], ["object"])
    write(folder, "label.csv", ["number", "name"], *((n, f"x{n}") for n in numbers))
    write(folder, "c_object.csv", ["number", "coverage"], *((n, 1) for n in numbers))
    return Broden(folder)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 0xFFFF), min_size=6, max_size=6))
def test_the_label_number_is_red_plus_256_times_green(many_labels, numbers):
    plane(many_labels.root.parent, "a.png", np.reshape(numbers, (2, 3)))
    assert many_labels.annotations.of(0).planes.ravel().tolist() == numbers


def test_opening_the_folder_reads_only_the_tables(root):
    shutil.rmtree(root / "images")
    assert len(Broden(root)) == 3


# --- categories, split and limit -------------------------------------------------------------------


def test_the_labels_of_chosen_categories_are_renumbered_from_one(root):
    annotations = labelled(Broden(root, categories=["part"]))
    assert annotations.categories == ("part",)
    assert annotations.labels == (Label(1, "leg", "part"), Label(2, "lamp", "part"))
    first = annotations.of(0)
    assert first.planes.tolist() == [[[1, 0, 0], [0, 0, 0]], [[0, 0, 2], [0, 1, 1]]]
    assert first.whole == ()


def test_chosen_categories_keep_the_order_of_the_data_set(root):
    annotations = labelled(Broden(root, categories=["part", "object"]))
    assert annotations.categories == ("object", "part")
    assert [label.name for label in annotations.labels] == ["dog", "leg", "lamp"]
    assert annotations.of(0).planes[0].tolist() == [[1, 1, 3], [0, 0, 0]]


def test_a_label_that_no_chosen_category_lists_is_an_error(root):
    with pytest.raises(InputError, match=r"index.csv, line 4, column scene: label 1 is not listed"):
        Broden(root, categories=["scene"])
    plane(root, "s/a_p1.png", [[1, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match=r"line 2: label plane images/s/a_p1.png: .*none of the chosen"):
        labelled(Broden(root, categories=["part"])).of(0)


def test_a_split_selects_its_rows(root):
    probe = Broden(root, split="val")
    assert [entry.image for entry in probe.entries] == ["b.jpg", "c.jpg"]
    assert labelled(probe).of(1).whole == (3, 1)


def test_a_limit_selects_images_with_their_annotations(root):
    whole = Broden(root)
    for seed in range(5):
        probe = Broden(root, limit=2, seed=seed)
        for i, entry in enumerate(probe.entries):
            at = [e.image for e in whole.entries].index(entry.image)
            assert probe.image(i).tobytes() == whole.image(at).tobytes()
            assert labelled(probe).of(i).planes.tolist() == labelled(whole).of(at).planes.tolist()


def test_it_can_be_pickled(root):
    probe = Broden(root)
    copy = pickle.loads(pickle.dumps(probe))
    assert labelled(copy).of(0).planes.tolist() == labelled(probe).of(0).planes.tolist()
    assert labelled(copy).fingerprint() == labelled(probe).fingerprint()


# --- fingerprints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["stat", "content"])
def test_a_copy_of_the_folder_has_the_same_fingerprints(root, tmp_path_factory, identity):
    folder = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(root, folder)
    original, copy = Broden(root, identity=identity), Broden(folder, identity=identity)
    assert original.fingerprint() == copy.fingerprint()
    assert labelled(original).fingerprint() == labelled(copy).fingerprint()


def test_the_annotations_fingerprint_depends_on_planes_labels_and_categories(root):
    def current():
        return labelled(Broden(root, identity="content")).fingerprint()

    fingerprints = [
        current(),
        labelled(Broden(root, categories=["object", "part"], split="train")).fingerprint(),
    ]
    plane(root, "s/b_o.png", [[0, 0, 0], [4, 4, 1]])
    fingerprints.append(current())
    write(root, "label.csv", ["number", "name"], (1, "hound"), *LABELS[1:])
    fingerprints.append(current())
    write(root, "c_part.csv", ["number", "coverage"], [4, 0.2], [2, 0.1])
    fingerprints.append(current())
    assert len(set(fingerprints)) == 5


# --- invalid data ----------------------------------------------------------------------------------


def replace(name, old, new):
    def damage(root):
        path = root / name
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return damage


def remove(name):
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("index.csv"), "no such file: .*index.csv"),
        (remove("c_part.csv"), "no such file: .*c_part.csv"),
        (replace("index.csv", b"sw", b"ws"), "index.csv, line 1: no column 'sw'"),
        (replace("index.csv", b"part", b"prt"), "index.csv, line 1: no column 'part'"),
        (
            replace("index.csv", b"val,4", b"val,four"),
            "index.csv, line 3, column ih: 'four' is not an integer",
        ),
        (replace("index.csv", b"2,3,s/b", b"0,3,s/b"), "index.csv, line 3, column sh: '0'"),
        (replace("index.csv", b"b.jpg", b""), "index.csv, line 3, column image: the cell is empty"),
        (
            replace("index.csv", b"3;0;1", b"3;0;5"),
            "line 4, column scene: label 5, but the last label in label.csv is 4",
        ),
        (replace("index.csv", b"3;0;1", b"3;-1"), "line 4, column scene: '-1' is neither a label number"),
        (replace("index.csv", b"3;0;1", b"3.0"), "line 4, column scene: '3.0' is neither a label number"),
        (replace("index.csv", b"3;0;1", b"3,1"), "line 4: 10 cells, the header has 9"),
        (replace("index.csv", b"c.jpg", b"\xe9.jpg"), r"index.csv, line 4: not UTF-8 text \(byte 0xe9"),
        (
            replace("label.csv", b"2,leg", b"1,leg"),
            "label.csv, line 3, column number: duplicate label 1",
        ),
        (
            replace("label.csv", b"2,leg", b"0,leg"),
            "label.csv, line 3, column number: '0' is not an integer",
        ),
        (
            replace("label.csv", b"4,lamp", b"5,lamp"),
            "label.csv: label 4 is missing, but there is a label 5",
        ),
        (replace("label.csv", b"2,leg", b"2, "), "label.csv, line 3, column name: the cell is empty"),
        (replace("label.csv", b"leg", b"\xff"), "label.csv, line 3: not UTF-8"),
        (
            replace("c_part.csv", b"1,4", b"1,2"),
            "c_part.csv, line 3, column number: duplicate label 2",
        ),
        (replace("c_part.csv", b"1,4", b"1,9"), "c_part.csv, line 2, column number: label 9"),
        (
            replace("c_part.csv", b"0.1", b"nan"),
            "c_part.csv, line 3, column coverage: 'nan' is not a number",
        ),
        (
            replace("c_scene.csv", b"1,3", b"1,4"),
            r"label.csv: label 3 \(street-s\) is in no c_<category>.csv",
        ),
        (
            replace("category.csv", b"part", b"object"),
            "category.csv, line 3, column name: duplicate category 'object'",
        ),
        (replace("category.csv", b"name", b"nom"), "category.csv, line 1: no column 'name'"),
        (lambda root: write(root, "index.csv", INDEX), "index.csv lists no images"),
        (lambda root: write(root, "label.csv", ["number", "name"]), "label.csv lists no labels"),
        (lambda root: (root / "label.csv").write_text(""), "label.csv, line 1: .*the file is empty"),
    ],
)
def test_the_error_for_an_invalid_table_names_file_and_line(root, damage, message):
    damage(root)
    with pytest.raises(InputError, match=message):
        Broden(root)


def grey(root):
    Image.new("L", (3, 2)).save(root / "images" / "s" / "a_p1.png")


def jpeg(root):
    Image.new("RGB", (3, 2)).save(root / "images" / "s" / "a_p1.png", "JPEG")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("images/s/a_p1.png"), "no such file"),
        (
            lambda root: plane(root, "s/a_p1.png", np.zeros((3, 2), int)),
            "expected 3 x 2 pixels, found 2 x 3",
        ),
        (
            lambda root: plane(root, "s/a_p1.png", np.full((2, 3), 256)),
            "label 256, but the last label in label.csv is 4",
        ),
        (grey, "expected a PNG file in RGB, found PNG in L"),
        (jpeg, "expected a PNG file in RGB, found JPEG in RGB"),
        (lambda root: (root / "images" / "s" / "a_p1.png").write_bytes(b"x"), "cannot be read"),
    ],
    ids=["missing", "wrong size", "number too large", "grey", "JPEG", "not an image"],
)
def test_the_error_for_an_invalid_plane_names_its_line_in_the_index(root, damage, message):
    damage(root)
    probe = Broden(root)
    with pytest.raises(
        InputError, match=r"index.csv, line 2: label plane images/s/a_p1.png: .*" + message
    ):
        labelled(probe).of(0)
    assert labelled(probe).of(1).planes.max() == 4  # other images are not affected


def test_the_error_for_a_missing_image_names_its_line_in_the_index(root):
    (root / "images" / "b.jpg").unlink()
    probe = Broden(root)
    with pytest.raises(UnreadableImageError, match=r"b.jpg: no such file \(index.csv, line 3\)"):
        probe.image(1)
    assert probe.fingerprint()  # the other images can still be used


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": ["prat"]}, "no category 'prat'"),
        ({"categories": "prat"}, "did you mean part"),
        ({"categories": []}, "categories is empty"),
        ({"split": "test"}, "no split 'test'"),
        ({"split": "test"}, "it has train, val"),
    ],
)
def test_the_error_for_an_unknown_choice_lists_the_valid_ones(root, arguments, message):
    with pytest.raises(InputError, match=message):
        Broden(root, **arguments)


def test_a_folder_without_brodens_tables_is_refused(root):
    with pytest.raises(InputError, match=r"no such file: .*category.csv"):
        Broden(root / "images")
    with pytest.raises(InputError, match="no such folder"):
        Broden(root / "nowhere")


def test_the_catalogue_can_be_read_without_the_index(root):
    catalogue = read_catalogue(root)
    assert [label.name for label in catalogue.labels] == [name for _, name in LABELS]
    assert catalogue.numbers.tolist() == [0, 1, 2, 3, 4]
