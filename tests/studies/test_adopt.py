"""Adopted batches are studies; mistakes in their files are named with file, line and column."""

import csv

import pytest
from golden_study import golden_study
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dissectbench.harness.cli import main
from dissectbench.results.studies import Study

BATCH = """\
task_id,image_url_1,image_url_2,description_1,description_2
a1,https://h.org/x/1.png,https://h.org/x/2.png,red &amp; blue,dogs
b2,https://h.org/x/1.png,https://h.org/x/3.png,cats,please choose this
"""
KEY = """\
task_id,layer,unit,slot,method
a1,layer2,7,2,first
a1,layer2,7,1,second
"""
ATTENTION = "task_id,correct_slot\nb2,2\n"


@pytest.fixture
def adopt(tmp_path, capsys):
    def call(batch=BATCH, key=KEY, attention=ATTENTION, *options):
        names = {"batch.csv": batch, "key.csv": key, "attention.csv": attention}
        for name, text in names.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        arguments = ["study", "adopt", str(tmp_path / "batch.csv"), "--key", str(tmp_path / "key.csv")]
        if attention:
            arguments += ["--attention", str(tmp_path / "attention.csv")]
        code = main([*arguments, "--out", str(tmp_path / "study"), *options])
        return code, capsys.readouterr().err

    return call


def test_the_reference_batch_is_the_same_study_as_its_tables(shared, tmp_path):
    golden = shared / "golden" / "mturk"
    arguments = [golden / "batch_input.csv", "--key", golden / "key.csv"]
    arguments += ["--attention", golden / "attention.csv", "--out", tmp_path / "adopted"]
    assert main(["study", "adopt", *map(str, arguments)]) == 0
    adopted, expected = Study(tmp_path / "adopted"), golden_study(golden, tmp_path / "expected")
    assert list(adopted.tasks) == list(expected.tasks)
    for task, rows in expected.key.items():
        assert adopted.key[task] == sorted(rows, key=lambda row: row.slot)
        assert adopted.tasks[task].images == expected.tasks[task].images
    assert adopted.settings.methods == expected.settings.methods
    assert adopted.settings.layers == expected.settings.layers
    text = adopted.tasks["te3878c6cd9"].descriptions[2]
    assert text == 'the word "wheels" against windows'
    assert adopted.settings.details["image_base_url"] == "https://images.example.org/study"


def test_the_key_resolves_slots_and_descriptions_are_text_and_not_html(adopt, tmp_path):
    assert adopt()[0] == 0
    study = Study(tmp_path / "study")
    assert study.tasks["a1"].descriptions == ("red & blue", "dogs")
    assert [(row.slot, row.method, row.unit) for row in study.key["a1"]] == [
        (1, "second", 7),
        (2, "first", 7),
    ]
    (check,) = study.key["b2"]
    assert (check.role, check.slot, check.expected) == ("attention", 2, "best")


@pytest.mark.parametrize(
    ("name", "old", "new", "place", "message"),
    [
        ("batch", "b2,", "a1,", "batch.csv, line 3, column 'task_id'", "also on line 2"),
        ("batch", "b2,", "b 2,", "batch.csv, line 3, column 'task_id'", "not made of letters"),
        ("batch", "description_2", "description_3", "batch.csv, line 1", "without description_2"),
        ("batch", "task_id", "id", "batch.csv, line 1", "no column 'task_id'"),
        ("batch", "red &amp; blue", "", "batch.csv, line 2, column 'description_1'", "is empty"),
        ("batch", "/2.png", "/", "batch.csv, line 2, column 'image_url_2'", "name of a file"),
        ("batch", "/2.png", "/..", "batch.csv, line 2, column 'image_url_2'", "name of a file"),
        ("batch", "/2.png", "/..%2Fa", "batch.csv, line 2, column 'image_url_2'", "name of a file"),
        ("batch", "x/3.png", "y/1.png", "batch.csv, line 3, column 'image_url_2'", "another image"),
        ("batch", ",dogs", "", "batch.csv, line 2", "4 columns, but the header has 5"),
        ("batch", ",dogs", ',"dogs', "batch.csv, line 2", "not valid CSV"),
        ("key", "a1,layer2,7,1", "c3,layer2,7,1", "key.csv, line 3, column 'task_id'", "no task 'c3'"),
        ("key", "7,1,", "7,3,", "key.csv, line 3, column 'slot'", "has the slots 1 to 2"),
        ("key", "7,1,", "7,0,", "key.csv, line 3, column 'slot'", "has the slots 1 to 2"),
        ("key", "7,1,", "8,1,", "key.csv, line 3, column 'unit'", "already about layer2 unit 7"),
        ("key", "7,1,", "x,1,", "key.csv, line 3, column 'unit'", "not a number"),
        ("key", "second", "first", "key.csv, line 3, column 'method'", "slot of first already"),
        ("key", "a1,layer2,7,1,second\n", "", "batch.csv, line 2, column 'description_1'", "whose"),
        ("attention", "b2,2", "a1,2", "attention.csv, line 2, column 'task_id'", "listed before"),
        ("attention", "b2,2", "b2,5", "attention.csv, line 2, column 'correct_slot'", "slots 1 to 2"),
        ("attention", "b2,2", "b2,", "attention.csv, line 2, column 'correct_slot'", "is empty"),
        ("attention", ATTENTION, "", "batch.csv, line 3, column 'task_id'", "neither in"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_column(adopt, tmp_path, name, old, new, place, message):
    texts = {"batch": BATCH, "key": KEY, "attention": ATTENTION}
    assert texts[name].count(old) == 1
    texts[name] = texts[name].replace(old, new)
    code, error = adopt(**texts)
    assert code == 2
    assert place in error
    assert message in error
    assert not (tmp_path / "study").exists()


def test_copied_images_get_opaque_names_and_lose_their_metadata(adopt, tmp_path):
    (tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        secret = PngInfo()
        secret.add_text("Comment", "layer2 unit 7")
        image = Image.new("RGB", (8, 8), (40 * number, 0, 0))
        image.save(tmp_path / "images" / f"{number}.png", pnginfo=secret)
    assert adopt(BATCH, KEY, ATTENTION, "--image-folder", str(tmp_path / "images"))[0] == 0
    study = Study(tmp_path / "study")
    written = {path.name: path.read_bytes() for path in study.images.iterdir()}
    assert set(written) == {name for task in study.tasks.values() for name in task.images}
    assert len(written) == 3
    assert all(b"layer2" not in content for content in written.values())
    (tmp_path / "images" / "3.png").unlink()
    code, error = adopt(BATCH, KEY, ATTENTION, "--image-folder", str(tmp_path / "images"))
    assert code == 2
    assert "line 3, column 'image_url_2'" in error


def test_names_of_methods_and_layers_that_raters_would_see_are_noted(adopt):
    _, notes = adopt(BATCH.replace("dogs", "dogs (first)").replace("/2.png", "/layer2.png"))
    assert "'first' occurs in what raters see" in notes
    assert "'layer2' occurs in what raters see" in notes


def test_descriptions_with_line_breaks_and_other_scripts_are_read(tmp_path, adopt):
    with (tmp_path / "odd.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(["task_id", "description_1", "description_2"])
        writer.writerow(["a1", 'a "b",\nc', "日本語 🙏"])
    text = (tmp_path / "odd.csv").read_bytes().decode("utf-8")
    assert adopt(text, KEY, "")[0] == 0
    assert Study(tmp_path / "study").tasks["a1"].descriptions == ('a "b", c', "日本語 🙏")
