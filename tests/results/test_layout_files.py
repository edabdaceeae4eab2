"""Layouts in YAML: the built-in ones, and every mistake in a user's own."""

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.results.importers.layout_files import (
    built_in_layouts,
    known_headers,
    read_layout,
    recognise,
)

VALID = {"name": "mine", "header": "[neuron, text]", "unit": "neuron", "description": "text"}


@pytest.fixture
def write(tmp_path):
    def _write(**changes):
        keys = {key: value for key, value in {**VALID, **changes}.items() if value is not None}
        path = tmp_path / "layout.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()), encoding="utf-8")
        return path

    return _write


def test_every_built_in_layout_is_recognised_by_its_own_header():
    for layout in built_in_layouts().values():
        assert recognise([*layout.header, "another column"]) is layout
        assert recognise([f" {column.upper()} " for column in reversed(layout.header)]) is layout
        assert f"({layout.name})" in known_headers()


def test_names_of_layouts_are_different():
    names = [layout.name for layout in built_in_layouts().values()]
    assert len(set(names)) == len(names) == 12


def test_a_layout_has_the_values_of_its_file(write):
    layout = read_layout(write(alternatives='["other *"]', first_unit=1, weak_up_to=0.5))
    assert layout.header == ("neuron", "text")
    assert (layout.alternatives, layout.first_unit, layout.weak_up_to) == (("other *",), 1, 0.5)
    assert layout.rows_per_unit == "one"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, r"layout\.yaml: unknown key 'colour'"),
        ({"unit": None}, "key 'unit': .*required"),
        ({"name": None}, "key 'name': .*required"),
        ({"header": "text"}, "key 'header'"),
        ({"header": "[neuron, 1]"}, r"key 'header\.1'"),
        ({"header": "[neuron, text, Text]"}, "key 'header': 'text' is there twice"),
        ({"unit": "unit"}, "key 'unit': column 'unit' is not in the header: neuron, text"),
        ({"description": "label"}, "key 'description': column 'label' is not in the header"),
        ({"layer": "layer"}, "key 'layer': column 'layer' is not in the header"),
        ({"descriptions": "{a: text}"}, "give either description or descriptions"),
        ({"description": None}, "give either description or descriptions"),
        (
            {"description": None, "descriptions": "{a: text}", "score": "text"},
            "key 'score': not with descriptions",
        ),
        ({"weights": "[w]"}, "key 'weights': there are no alternatives"),
        ({"layer_prefix": "layer"}, "key 'layer_prefix': there is no column"),
        ({"first_unit": -1}, "key 'first_unit': must not be negative"),
        ({"first_unit": "one"}, "key 'first_unit': .*integer"),
        ({"rows_per_unit": "many"}, "key 'rows_per_unit'"),
        ({"text": "html"}, "key 'text'"),
        ({"layer_in_file_name": "'layer('"}, "key 'layer_in_file_name': not a regular expression"),
        ({"header": "[neuron, text"}, r"layout\.yaml is not valid YAML"),
    ],
)
def test_an_error_names_file_and_key(write, changes, message):
    with pytest.raises(InputError, match=message) as error:
        read_layout(write(**changes))
    assert "layout.yaml" in str(error.value)


def test_an_unknown_key_is_answered_with_the_nearest(write):
    with pytest.raises(InputError, match="did you mean description"):
        read_layout(write(descripton="text"))


def test_a_file_that_is_no_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the layout"):
        read_layout(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(InputError, match="is not a layout"):
        read_layout(tmp_path / "list.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_layout(tmp_path / "bytes.yaml")
