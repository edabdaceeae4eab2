"""Description files of other tools: every layout, every published file, every kind of error."""

from pathlib import Path

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.results.importers.descriptions_csv import DescriptionFile, read_descriptions_csv


@pytest.fixture
def write(tmp_path):
    def _write(content: str | bytes, name: str = "words.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def texts(file: DescriptionFile) -> dict[int, str | None]:
    return {row.unit: row.text for row in file.rows}


@pytest.mark.parametrize(
    ("content", "layout", "method"),
    [
        ("layer,unit,description,similarity\nfc,0,dog,0.5\n", "CLIP-Dissect", "clip_dissect:words"),
        ("layer,unit,description\nfc,0,dog\n", "plain table with layers", "words"),
        ("layer,unit,summary\nfc,0,dog\n", "MILANNOTATIONS", "milannotations:words"),
        ("unit,category,label,score\n1,object,dog,0.5\n", "Network Dissection", "netdissect:words"),
        ("Neuron ID,Label 1,Label 2,Label 3\n0,dog,cat, \n", "Describe-and-Dissect", "dnd:words"),
        ("Neuron ID,label\n0,dog\n", "Describe-and-Dissect, one label", "dnd:words"),
        ("unit,description,sim correlation\n0,dog,0.5\n", "plain table of one layer", "words"),
        ("neuron,concept,concept_id,metric\n0,dog,n02,0.5\n", "INVERT", "invert:words"),
        ("layer,unit,method,description,status,score\nfc,0,mine,dog,ok,0.5\n", "dissectbench", "mine"),
    ],
)
def test_the_layout_is_recognised_by_the_header_and_units_count_from_zero(write, content, layout, method):
    file = read_descriptions_csv(write(content), layer="fc")
    assert file.layout == layout
    [row] = file.rows
    assert (row.layer, row.unit, row.method, row.text, row.status) == ("fc", 0, method, "dog", "ok")
    assert row.line == 2


def test_network_dissection_units_count_from_one_and_labels_become_words(write):
    rows = "1,scene,art_gallery-s,0.2\n2,color,red-c,0.1\n3,object,tv-c-s,0.04\n4,object,-,0\n5,,,0\n"
    file = read_descriptions_csv(write("unit,category,label,score\n" + rows), layer="layer4")
    assert texts(file) == {0: "art gallery", 1: "red", 2: "tv-c", 3: "-", 4: None}
    assert file.oddities == {
        "not above the threshold 0.04, kept": 2,
        'that names nothing, such as "nothing" or "n/a", kept': 1,
        "with a Broden suffix or underscores, replaced": 3,
        "without a description": 1,
    }


def test_further_labels_are_alternatives_and_blank_ones_are_ignored(write):
    content = "Neuron ID,Label 1,Label 2,Label 3\n7,dogs, ,cats\n8, , , \n"
    first, second = read_descriptions_csv(write(content), layer="fc").rows
    assert (first.text, first.alternatives) == ("dogs", ("cats",))
    assert (second.text, second.status) == (None, "missing")


def test_several_annotations_of_a_unit_are_kept_in_order(write):
    content = "layer,unit,summary\nfc,1,dogs\nfc,0,sky\nfc,1,cats\nfc,0,\nfc,1,dogs\n"
    sky, dogs = read_descriptions_csv(write(content)).rows
    assert (sky.text, sky.alternatives) == ("sky", ())
    assert (dogs.text, dogs.alternatives) == ("dogs", ("cats", "dogs"))


def test_every_row_of_the_layer_is_counted(write):
    path = write("layer,unit,summary\nfc,0,dogs\nfc,0,a dog\nfc,1,cats\nfc,2,sky\nconv,0,red\n")
    file = read_descriptions_csv(path, layer="fc")
    assert (file.records, len(file.rows)) == (4, 3)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_semicolons_and_tabs_separate_cells_too(write, separator, start):
    lines = ["layer,unit,description,similarity", "fc,0,DOG,0.5", "fc,1,sky,0.25"]
    content = start + "\n".join(line.replace(",", separator) for line in lines)
    first, second = read_descriptions_csv(write(content.replace("DOG", "a dog, a cat"))).rows
    assert (first.text, first.score, second.unit) == ("a dog, a cat", 0.5, 1)


def test_rows_are_joined_by_unit_not_by_order(write):
    file = read_descriptions_csv(write("layer,unit,description\nfc,2,c\nfc,0,a\nfc,1,b\n"))
    assert texts(file) == {0: "a", 1: "b", 2: "c"}
    assert [row.unit for row in file.rows] == [0, 1, 2]
    assert file.oddities == {"out of order": 1}


def test_quotes_inside_are_kept_and_surrounding_space_is_stripped(write):
    file = read_descriptions_csv(write('layer,unit,description\nfc,0,"""a, b"""\nfc,1,  c d \n'))
    assert texts(file) == {0: '"a, b"', 1: "c d"}
    assert file.oddities == {"with double quotes inside": 1, "with surrounding space, stripped": 1}


def test_a_byte_order_mark_windows_line_ends_and_multi_line_cells_are_read(write):
    content = b'\xef\xbb\xbfLayer,UNIT,description\r\nfc,0,"two\r\nlines"\r\nfc,1,x\r\n'
    file = read_descriptions_csv(write(content))
    assert texts(file) == {0: "two\r\nlines", 1: "x"}
    assert [row.line for row in file.rows] == [2, 4]
    assert file.oddities == {
        "byte order mark": 1,
        "line end of Windows or an old Mac": 4,
        "with a line break inside": 1,
    }


def test_a_repeated_row_is_read_once(write):
    file = read_descriptions_csv(write("layer,unit,description\nfc,0,a\nfc,0,a\n"))
    assert texts(file) == {0: "a"}
    assert file.oddities == {"repeated, read once": 1}


def test_two_different_descriptions_of_a_unit_are_an_error_with_both_lines(write):
    content = "unit,category,label,score\n5,object,dog,0.5\n6,object,cat,0.5\n5,object,cat,0.5\n"
    with pytest.raises(InputError, match=r"lines 2 and 4: fc unit 5 has two different descriptions"):
        read_descriptions_csv(write(content), layer="fc")


def test_only_the_layer_asked_for_is_read(write):
    path = write("layer,unit,description\nfc,0,a\nlayer4,0, b\nlayer4,1,\n")
    assert [row.layer for row in read_descriptions_csv(path).rows] == ["fc", "layer4", "layer4"]
    assert read_descriptions_csv(path, layer="fc").oddities == {}
    assert texts(read_descriptions_csv(path, layer="layer4")) == {0: "b", 1: None}


def test_an_unknown_layer_lists_the_layers_of_the_file(write):
    path = write("layer,unit,description\nfc,0,a\nlayer4,0,b\n")
    with pytest.raises(InputError) as error:
        read_descriptions_csv(path, layer="layer3")
    assert "no layer 'layer3'" in str(error.value)
    assert "fc, layer4" in str(error.value)
    assert "did you mean layer4?" in str(error.value)


def test_a_file_without_layers_needs_one(write):
    with pytest.raises(InputError, match="--layer fc"):
        read_descriptions_csv(write("Neuron ID,label\n0,dog\n"))


def test_a_method_can_be_named(write):
    path = write("Neuron ID,label\n0,dog\n")
    assert read_descriptions_csv(path, layer="fc", method="DnD").rows[0].method == "DnD"


def test_a_method_named_like_a_control_is_refused_but_can_be_renamed(write):
    path = write("layer,unit,method,description,status,score\nfc,0,Constant: depiction,dog,ok,0.5\n")
    message = r"words\.csv: the method's name 'Constant: depiction' begins with 'constant:'"
    with pytest.raises(InputError, match=message):
        read_descriptions_csv(path)
    assert read_descriptions_csv(path, method="depiction").rows[0].method == "depiction"
    with pytest.raises(InputError, match=r"shuffled:"):
        read_descriptions_csv(path, method="shuffled:depiction")


def test_a_file_named_like_a_control_is_refused(write):
    with pytest.raises(InputError, match="reserved for controls"):
        read_descriptions_csv(write("layer,unit,description\nfc,0,dog\n", "shuffled: a.csv"))


def test_a_file_of_several_methods_cannot_get_one_name(write):
    header = "layer,unit,method,description,status,score\n"
    path = write(header + "fc,0,a,dog,ok,\nfc,0,b,,dead,\n")
    assert [(r.method, r.status) for r in read_descriptions_csv(path).rows] == [
        ("a", "ok"),
        ("b", "dead"),
    ]
    with pytest.raises(InputError, match="has 2 methods"):
        read_descriptions_csv(path, method="c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "unknown header: nothing"),
        ("a,b\n1,2\n", "unknown header: a,b"),
        ("unit,unit,description\n0,0,a\n", "'unit' is there more than once"),
        ("layer,unit,description\n", "no rows"),
        ("layer,unit,description\nfc,0\n", "line 2: 2 columns, but the header has 3"),
        ("layer,unit,description\n\nfc,0,a,b\n", "line 3: 4 columns"),
        ("layer,unit,description\nfc,-1,a\n", "line 2, column 'unit': '-1' is not"),
        ("layer,unit,description\nfc,1.0,a\n", "line 2, column 'unit': '1.0' is not"),
        ("layer,unit,description\n ,0,a\n", "line 2, column 'layer': is blank"),
        (
            "layer,unit,description,similarity\nfc,0,a,high\n",
            "line 2, column 'similarity': 'high' is not",
        ),
        ("unit,category,label,score\n0,object,a,0\n", "line 2, column 'unit': 0, but .* from 1"),
        ('layer,unit,description\nfc,0,a\nfc,1,"b\n', "line 3: not valid CSV"),
        (b"layer,unit,description\nfc,0,a\nfc,1,caf\xe9\n", "line 3: not UTF-8"),
        ("layer,unit,method,description,status,score\nfc,0,m,,ok,\n", "'ok' for a unit without"),
        ("layer,unit,method,description,status,score\nfc,0,m,a,dead,\n", "'dead' for a unit with a"),
        ("layer,unit,method,description,status,score\nfc,0,m,a,fine,\n", "'fine' is none of ok"),
    ],
)
def test_an_error_names_file_line_and_column(write, content, message):
    path = write(content)
    with pytest.raises(InputError, match=message) as error:
        read_descriptions_csv(path, layer="fc")
    assert str(path) in str(error.value)


def test_an_unknown_header_lists_the_known_ones(write):
    with pytest.raises(InputError, match=r"layer,unit,summary  \(MILANNOTATIONS\)"):
        read_descriptions_csv(write("a,b\n1,2\n"))


def test_a_missing_file_or_a_folder_is_an_input_error(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            read_descriptions_csv(path)


# (file, layer, units described, distinct descriptions, oddities)
PUBLISHED = [
    (
        "DnD_results/rn50_results/resnet50_imagenet_broden_fc.csv",
        "fc",
        1000,
        869,
        {"with double quotes inside": 6},
    ),
    ("MILAN_results/m_base_resnet50_imagenet.csv", "fc", 1000, 251, {}),
    (
        "NetDissect_results/resnet50_imagenet_fc.csv",
        "fc",
        1000,
        229,
        {"not above the threshold 0.04, kept": 1000 - 983},
    ),
    (
        "NetDissect_results/resnet50_imagenet_layer4.csv",
        "layer4",
        2048,
        241,  # 242 labels: "street" the object and "street-s" the scene are one word
        {"not above the threshold 0.04, kept": 2048 - 1355},
    ),
    ("CLIP_Dissect_results/resnet50_imagenet_broden.csv", "layer4", 2048, 811, {}),
    ("MILAN_results/m_base_resnet50_imagenet.csv", "layer4", 2048, 351, {}),
    ("MILAN_results/m_base_resnet50_imagenet.csv", None, 4904, 710, {}),
    ("MILAN_results/m_places365_resnet50_imagenet.csv", None, 3904, 512, {}),
    ("MILAN_results/m_places365_resnet152_imagenet.csv", None, 3904, 547, {}),
    ("CoSy/MILAN/vit_b_16-features.csv", "subset", 768, 43, {}),
    ("DnD_results/eurosat_results/layer4.csv", "layer4", 2048, 690, {"with a line break inside": 8}),
    ("Linear_Explanations/CLIP_Dissect/resnet50_imagenet_layer4.csv", "layer4", 2048, 811, {}),
    (
        "CLIP_Dissect_results/resnet152_imagenet.csv",
        None,
        200,
        172,
        {"with surrounding space, stripped": 196},
    ),
    ("MILANNOTATIONS_resnet152_imagenet.csv", None, 3904, 3463, {"with surrounding space, stripped": 3}),
]


@pytest.mark.parametrize(("name", "layer", "n", "distinct", "oddities"), PUBLISHED)
def test_published_files_have_their_known_counts(shared, name, layer, n, distinct, oddities):
    file = read_descriptions_csv(shared / "published" / name, layer=layer)
    assert len(file.rows) == len({(row.layer, row.unit) for row in file.rows}) == n
    assert len({row.text for row in file.rows}) == distinct
    assert all(row.status == "ok" for row in file.rows)
    assert oddities.items() <= file.oddities.items()


def test_the_six_quoted_labels_are_those_of_the_published_file(shared):
    path = shared / "published/DnD_results/rn50_results/resnet50_imagenet_broden_fc.csv"
    quoted = [row.unit for row in read_descriptions_csv(path, layer="fc").rows if '"' in (row.text or "")]
    assert quoted == [416, 457, 655, 834, 869, 906]


def test_every_unit_of_the_annotations_has_three_texts(shared):
    file = read_descriptions_csv(shared / "published/MILANNOTATIONS_resnet152_imagenet.csv")
    assert {len(row.alternatives) for row in file.rows} == {2}
