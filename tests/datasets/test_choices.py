"""The shipped choices of probe, concepts and references, and the example of the documentation."""

import re
import sys

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError

CHOICES = [
    ("probe", "imagefolder", {"root": "set"}, 2),
    ("probe", "cifar10", {"root": "set"}, 2),
    ("probe", "imagenet_val", {"root": "set", "class_names": "[ant,bee]"}, 2),
    ("probe", "flat", {"root": "set/bee"}, 1),
    (
        "probe",
        "imagenet_broden",
        {"sets.imagenet.root": "set", "sets.imagenet.class_names": "null", "sets.broden.root": "broden"},
        3,
    ),
    ("probe", "broden", {"root": "broden"}, 1),
    ("concepts", "file", {"path": "names.txt"}, 2),
    ("concepts", "imagenet", {}, 1000),
    ("concepts", "classes", {"weights": "ResNet18_Weights.IMAGENET1K_V1"}, 1000),
    ("concepts", "broden", {"root": "broden"}, 1),
    ("references", "imagenet", {}, 1000),
    ("references", "file", {"path": "names.txt"}, 2),
]


@pytest.fixture
def data(tmp_path):
    """An image folder with two classes, a Broden folder with one image and a list of names."""
    for name in ("set/ant", "set/bee", "broden/images"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / name / "1.png")
    tables = {
        "index": "image,split,ih,iw,sh,sw,scene\n1.png,val,4,6,2,3,1\n",
        "category": "name\nscene\n",
        "label": "number,name\n1,street-s\n",
        "c_scene": "number,coverage\n1,1\n",
    }
    for name, content in tables.items():
        (tmp_path / "broden" / f"{name}.csv").write_text(content)
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    return tmp_path


def composed(*overrides, config_dir=None):
    return compose(["method=[network_dissection]", *overrides], config_dir=config_dir).config


@pytest.mark.parametrize(("group", "choice", "values", "length"), CHOICES)
def test_a_choice_is_composed_and_built(data, monkeypatch, group, choice, values, length):
    monkeypatch.chdir(data)
    config = composed(f"{group}={choice}", *(f"{group}.{key}={value}" for key, value in values.items()))
    component = build(config[group], group)
    assert len(component) == length
    assert component.name


@pytest.mark.parametrize("choice", ["imagefolder", "flat", "broden"])
def test_the_error_for_a_missing_folder_names_the_setting(choice):
    with pytest.raises(InputError, match=r"probe\.root is not set"):
        composed(f"probe={choice}")


def test_words_and_broden_are_one_concept_set(data):
    pytest.importorskip("wordfreq")
    config = composed("concepts=words_and_broden", f"concepts.sets.broden.root={data / 'broden'}")
    concepts = build(config.concepts, "concepts")
    assert len(concepts) == 20_000  # Broden's only label, "street", is one of the 20,000 words
    assert concepts.name == "words_and_broden"
    assert concepts.report.duplicates == 1


def test_a_hugging_face_data_set_is_a_choice(data):
    hub = pytest.importorskip("datasets")
    image = (data / "set" / "ant" / "1.png").read_bytes()
    hub.Dataset.from_dict({"image": [image]}).save_to_disk(data / "table")
    config = composed("probe=huggingface", f"probe.path_or_name={data / 'table'}", "probe.split=test")
    assert build(config.probe, "probe").annotations.of(0).shape == (112, 112)


def test_references_can_be_the_classes_of_the_probing_set(data):
    config = composed("probe=imagefolder", f"probe.root={data / 'set'}", "references=probe")
    assert build(config.references, "references").texts == (("ant",), ("bee",))


def test_the_documentation_works_as_written(repository, data, monkeypatch):
    page = repository / "docs" / "add_a_data_set.md"
    if not page.exists():
        pytest.skip("the package was installed without its documentation")
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (data / "my_data.py").write_text(code[0])
    (data / "my_configs" / "probe").mkdir(parents=True)
    (data / "my_configs" / "probe" / "listed.yaml").write_text(yaml)
    (data / "set" / "list.csv").write_text("file,class\nbee/1.png,bee\nant/1.png,ant\n")
    monkeypatch.chdir(data)
    monkeypatch.syspath_prepend(str(data))
    monkeypatch.setattr(sys, "path", list(sys.path))  # compose() adds the working directory
    monkeypatch.delitem(sys.modules, "my_data", raising=False)
    config = composed("probe=listed", "probe.root=set", "references=probe", config_dir="my_configs")
    probe = build(config.probe, "probe")
    assert [probe.classes[label] for label in probe.labels] == ["bee", "ant"]
    assert probe.annotations.of(0).whole == (2,)
    assert len(build(config.references, "references")) == 2

    scope = {}
    exec(code[1], scope)
    assert scope["Middle"]().of(0).planes.sum() == 56 * 56
