"""Importing files of every layout into one file in the project's own layout."""

import csv
import re
from pathlib import Path

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.results import import_descriptions, read_descriptions_csv, read_layout


@pytest.fixture
def write(tmp_path):
    def _write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return _write


def content(imported, folder) -> str:
    """What an import writes."""
    imported.write(folder / "out.csv")
    return (folder / "out.csv").read_bytes().decode()


LINEAR = (
    "layer,unit,val correlation,weight0,concept0,weight1,concept1,weight2,concept2,bias\n"
    'layer1,0,0.25,-0.5,fishpond,0.25,"arena, performance",0.0,0,0.1\n'
    "layer1,1,0.5,0.5,swamp,0,0,0,0,0.1\n"
)


def test_a_weighted_sum_keeps_its_concepts_and_weights_in_their_order(write, tmp_path):
    imported = import_descriptions([write("net_layer1.csv", LINEAR)])
    first, second = imported.rows
    assert (first.text, first.alternatives, first.weights) == (
        "fishpond",
        ("arena, performance",),
        (-0.5, 0.25),
    )
    assert (second.text, second.alternatives, second.weights) == ("swamp", (), (0.5,))
    assert (first.method, first.score) == ("linear_explanations:net", 0.25)
    [file] = imported.files
    assert file.oddities == {"blank 'concept*'": 3, "with a negative weight, kept": 1}
    assert file.unused_columns == ("bias",)
    assert content(imported, tmp_path) == (
        "layer,unit,method,description,status,score,alternatives,weights\n"
        'layer1,0,linear_explanations:net,fishpond,ok,0.25,"[""arena, performance""]","[-0.5, 0.25]"\n'
        "layer1,1,linear_explanations:net,swamp,ok,0.5,,[0.5]\n"
    )


def test_a_weight_without_a_concept_is_listed(write):
    row = LINEAR.splitlines()[0] + "\nlayer1,0,,0.5,0,0.25,0,0,0,0\n"
    [file] = import_descriptions([write("net_layer1.csv", row)]).files
    assert file.rows[0].status == "missing"
    assert file.oddities["weight without a text, left out"] == 2


def test_a_python_list_of_phrases_is_read_without_running_it(write):
    pairs = "\"[('red wine', 0.5), ('it''s', 0.25)]\"".replace("''", "\\'")
    rows = f'8,8,"[]",{pairs}\n9,9,"[]",[]\n'
    header = "group,Unnamed: 0,concept_set_words,concept_set_noun_phrases\n"
    first, second = import_descriptions([write("net-layer2.csv", header + rows)]).rows
    assert (first.unit, first.text, first.alternatives) == (8, "red wine", ("it's",))
    assert (first.score, first.weights, first.layer) == (0.5, (0.5, 0.25), "layer2")
    assert (second.text, second.status) == (None, "missing")
    for cell in ("__import__('os')", "[('a', 'b')]", "[('a',)]", "[1]", "(" * 9000, "[('a', 1e999)]"):
        with pytest.raises(InputError, match="line 2, column 'concept_set_noun_phrases'"):
            import_descriptions([write("net-layer2.csv", f'{header}8,8,[],"{cell}"\n')])


def test_the_columns_of_several_methods_are_kept_apart(write):
    path = write(
        "study.csv",
        "Layer,Unit,Mean Caption Label,Topk-Sq Caption Label,Image-Products Label,Topk-Compare Label,E1\n"
        "2, 10,a,b,c,d,5\n",
    )
    file = read_descriptions_csv(path)
    assert {row.method: row.text for row in file.rows} == {
        "dnd:mean": "a",
        "dnd:topk_sq_mean": "b",
        "dnd:image_products": "c",
        "dnd:topk_sq_image_products": "d",
    }
    assert {(row.layer, row.unit) for row in file.rows} == {("layer2", 10)}
    assert file.records == 1
    assert file.oddities == {"unit with spaces or leading zeros, rewritten": 1}


@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        ("resnet50_imagenet_layer4.csv", "layer4", "dnd:resnet50_imagenet"),
        ("BLIP2-Layer4.csv", "layer4", "dnd:BLIP2"),
        ("layer4.csv", "layer4", "dnd"),
        ("dnd_layer4.csv", "layer4", "dnd"),
        ("net-layer4_original.csv", "layer4", "dnd:net_original"),
        ("resnet50_fc.csv", "fc", "dnd:resnet50"),
    ],
)
def test_the_layer_in_the_file_name_is_used_and_reported(write, name, layer, method):
    file = read_descriptions_csv(write(name, "Neuron ID,label\n0,dog\n"))
    assert (file.rows[0].layer, file.rows[0].method, file.layer_from) == (layer, method, "file name")


def test_a_given_layer_comes_before_the_file_name_and_the_difference_is_listed(write):
    file = read_descriptions_csv(write("net_layer4.csv", "Neuron ID,label\n0,dog\n"), layer="layer3")
    assert (file.rows[0].layer, file.layer_from, file.rows[0].method) == (
        "layer3",
        "argument",
        "dnd:net_layer4",
    )
    assert file.oddities == {"of layer 'layer3', although the file name has 'layer4'": 1}


def test_a_column_comes_before_the_file_name_and_the_difference_is_listed(write):
    file = read_descriptions_csv(
        write("vit-features.csv", "layer,unit,description\nsubset,0,dog\nsubset,1,cat\n")
    )
    assert (file.rows[0].layer, file.layer_from) == ("subset", "column")
    assert file.oddities == {"of layer 'subset', although the file name has 'features'": 2}
    assert file.first_lines == {"of layer 'subset', although the file name has 'features'": 2}


def test_everything_unusual_is_listed_with_its_first_line(write):
    path = write(
        "words.csv",
        "layer,unit,description\n\nfc,01,a  b\nfc,0,no concept label can be derived\n"
        'fc,2,Nothing\nfc,3,"a\x07\n"\n fc,4,x',
    )
    file = read_descriptions_csv(path)
    assert file.oddities == {
        "empty line, skipped": 1,
        "no line end at the end of the file": 1,
        "layer with surrounding space, stripped": 1,
        "like a reply of a language model about its task, kept": 1,
        "out of order": 1,
        'that names nothing, such as "nothing" or "n/a", kept': 1,
        "unit with spaces or leading zeros, rewritten": 1,
        "with a control or invisible character inside, kept": 1,
        "with repeated spaces inside, kept": 1,
        "with surrounding space, stripped": 1,
    }
    assert file.first_lines["with a control or invisible character inside, kept"] == 6
    assert file.first_lines["layer with surrounding space, stripped"] == 8


def test_the_labels_of_the_layers_of_one_method_are_one_method(write):
    for layer in ("layer1", "layer2"):
        write(f"dnd/net_{layer}.csv", f"Neuron ID,label\n0,{layer}\n")
    folder = write("dnd/readme.txt", "not a table").parent
    imported = import_descriptions([folder])
    assert [(r.method, r.layer) for r in imported.rows] == [("dnd:net", "layer1"), ("dnd:net", "layer2")]


def test_equal_names_from_different_folders_are_kept_apart_by_the_folder(write):
    for folder in ("milan", "clip"):
        write(f"all/{folder}/net_fc.csv", f"unit,description\n0,{folder}\n")
    path = write("all/plain.csv", "layer,unit,method,description,status,score\nfc,0,net,x,ok,\n")
    rows = import_descriptions([path.parent]).rows
    assert {row.method: row.text for row in rows} == {
        "clip/net": "clip",
        "milan/net": "milan",
        "net": "x",
    }
    with pytest.raises(
        InputError, match=r"line 2, and .*line 2: one has two different descriptions of fc"
    ):
        import_descriptions([path.parent / "milan", path.parent / "clip"], method="one")


def test_a_row_that_an_earlier_file_has_too_is_read_once(write):
    first = write("a.csv", "layer,unit,description\nfc,0,dog\nfc,1,cat\n")
    second = write("b.csv", "layer,unit,description\nfc,1,cat\nfc,2,sky\n")
    imported = import_descriptions([first, second], method="mine")
    assert [(row.unit, row.text) for row in imported.rows] == [(0, "dog"), (1, "cat"), (2, "sky")]
    assert imported.files[1].oddities == {"also in an earlier file, read once": 1}
    assert len(import_descriptions([first, first]).files) == 1


def test_importing_the_written_file_again_changes_nothing(write, tmp_path):
    own = "layer,unit,method,description,status,score\n"
    paths = [
        write("net_layer1.csv", LINEAR),
        write("own.csv", own + 'l1,0,b,"x\r\ry",ok,1e-7\nl2,0,a,,dead,\nl2,0,b,"q""",ok,0.10\n'),
        write("m.csv", "layer,unit,summary\nfc,1, a  b\nfc,1,\xe9\u2028\nfc,0,\n"),
    ]
    once = content(import_descriptions(paths), tmp_path)
    path = write("once.csv", once)
    assert content(import_descriptions([path]), tmp_path) == once
    assert content(import_descriptions(paths), tmp_path) == once
    assert 'l1,0,b,"x\r\ry",ok,1e-07,,\n' in once


@pytest.mark.parametrize(
    ("alternatives", "weights", "message"),
    [
        ("dog", "", "column 'alternatives': 'dog' is not a JSON list"),
        ('"[1]"', "", "is not a JSON list of texts"),
        ('"[""""]"', "", "is not a JSON list of texts"),
        ("[" * 9000, "", "is not a JSON list"),
        ("", "[NaN]", "column 'weights': .*not finite"),
        ("", "[true]", "is not a JSON list of numbers"),
        ("", '"[1,2]"', "2 weights for 1 texts"),
    ],
)
def test_alternatives_and_weights_are_checked(write, alternatives, weights, message):
    header = "layer,unit,method,description,status,score,alternatives,weights\n"
    path = write("own.csv", f"{header}fc,0,m,a,ok,,{alternatives},{weights}\n")
    with pytest.raises(InputError, match=message):
        import_descriptions([path])


def test_a_list_of_words_is_refused_with_its_uses(write):
    for name, text in (("20k.txt", "the\nof\n"), ("classes.txt", "tench, Tinca\ngoldfish\n")):
        with pytest.raises(InputError, match="2 lines and no known header: a list") as error:
            import_descriptions([write(name, text)])
        assert "--references LIST.txt" in str(error.value)


def test_nothing_to_import_or_an_input_as_output_is_refused(write, tmp_path):
    path = write("words.csv", "layer,unit,description\nfc,0,dog\n")
    with pytest.raises(InputError, match="is one of the files to import"):
        import_descriptions([path]).write(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file to import"):
        import_descriptions([tmp_path / "empty"])


def test_of_a_run_only_its_descriptions_are_read(write):
    write("run/tables/scores.csv", "method,score\na,1\n")
    path = write("run/descriptions.csv", "layer,unit,method,description,status,score\nfc,0,m,x,ok,\n")
    assert [file.path for file in import_descriptions([path.parent]).files] == [path]


def test_the_example_of_the_documentation_works_as_written(write, tmp_path, repository):
    page = (repository / "docs" / "import.md").read_text(encoding="utf-8")
    section = page[page.index("## A layout of your own") :]
    table, layout, expected = re.findall(r"```(?:csv|yaml)\n(.*?)```", section, re.DOTALL)
    name = re.search(r"import (\S+\.csv) --layout", section)
    assert name is not None
    chosen = read_layout(write("my_tool.yaml", layout))
    assert content(import_descriptions([write(name[1], table)], layout=chosen), tmp_path) == expected


def test_every_key_and_every_layout_is_documented(repository):
    from dataclasses import fields

    from dissectbench.results.importers.layout_files import Layout, built_in_layouts

    page = (repository / "docs" / "import.md").read_text(encoding="utf-8")
    assert [f.name for f in fields(Layout) if f"`{f.name}`" not in page] == []
    assert [x.name for x in built_in_layouts().values() if f"`{','.join(x.header[:2])}" not in page] == []


def test_a_file_without_the_columns_of_the_given_layout_is_refused(write):
    layout = read_layout(
        write("mine.yaml", "name: mine\nheader: [neuron, text]\nunit: neuron\ndescription: text\n")
    )
    path = write("x_layer1.csv", "layer,unit,description\nfc,0,dog\n")
    with pytest.raises(InputError, match="the layout 'mine' needs the column 'neuron'"):
        import_descriptions([path], layer="fc", layout=layout)


def test_a_layout_without_a_column_for_the_layer_renames_it(write):
    keys = "name: mine\nheader: [unit, description]\nunit: unit\ndescription: description\n"
    layout = read_layout(write("mine.yaml", keys + "layer_in_file_name: features\n"))
    path = write("vit-features.csv", "layer,unit,description\nsubset,0,dog\n")
    [row] = import_descriptions([path], layout=layout).rows
    assert (row.layer, row.method) == ("features", "vit")


# What the specification of the published files counts.
QUIRKS = {
    "DnD_results/eurosat_results/layer4.csv": {
        "blank 'Label 2'": 43,
        "blank 'Label 3'": 291,
        "with surrounding space, stripped": 2,
    },
    "DnD_results/rn50_results/resnet50_imagenet_broden_fc.csv": {
        "no line end at the end of the file": 1,
        "with double quotes inside": 6,
    },
    "DnD_results/BLIP2_data/BLIP2-Layer3.csv": {"blank 'Label 2'": 1, "blank 'Label 3'": 9},
    "DnD_results/rn152_results/resnet152_imagenet_layer4.csv": {
        "alternative with double quotes inside": 1,
        "blank 'Label 2'": 1,
        "blank 'Label 3'": 5,
    },
    "CLIP_Dissect_results/resnet152_imagenet.csv": {"with surrounding space, stripped": 196},
    "CoSy/MILAN/vit_b_16-features.csv": {"line end of Windows or an old Mac": 769},
    "MILANNOTATIONS_resnet152_imagenet.csv": {
        "further description that repeats another of the unit, kept": 49,
        "with double quotes inside": 2,
        "with repeated spaces inside, kept": 101,
    },
    "MILAN_results/m_imagenet_resnet18_places365.csv": {
        'that names nothing, such as "nothing" or "n/a", kept': 13
    },
    "Linear_Explanations/LE_label/resnet50_imagenet_layer4.csv": {
        "alternative that repeats another text of the unit, kept": 1
    },
}


def test_every_published_file_is_imported_or_refused(shared, tmp_path):
    published = shared / "published"
    imported = import_descriptions([published])
    paths = sorted(published.rglob("*.csv"))
    assert [file.path for file in imported.files] == paths
    for file in imported.files:
        with file.path.open(encoding="utf-8", newline="") as stream:
            records = len(list(csv.reader(stream))) - 1
        assert file.records == records
        described = len(file.rows) + file.oddities.get(
            "further description of a unit, kept as an alternative", 0
        )
        methods = 4 if file.layout == "scoring-function study" else 1
        assert described == methods * records
        expected = QUIRKS.get(str(file.path.relative_to(published)), {})
        assert expected.items() <= file.oddities.items(), file.path
    weighted = [row for row in imported.rows if row.method.startswith("linear_explanations")]
    assert sum(any(weight < 0 for weight in row.weights) for row in weighted) == 15
    once = content(imported, tmp_path)
    (tmp_path / "once.csv").write_bytes(once.encode())
    assert content(import_descriptions([tmp_path / "once.csv"]), tmp_path) == once
    for path in published.rglob("*.txt"):
        with pytest.raises(InputError, match="a list, such as class names or concepts"):
            import_descriptions([path])
