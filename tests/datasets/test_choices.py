"""The shipped choices of probe, concepts and references, and the example of the documentation."""

import re
import sys

import pytest
from small_data import write_small_data

from dissectbench.harness.cli import main
from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError


@pytest.fixture
def data(tmp_path):
    return write_small_data(tmp_path)


def composed(*overrides, config_dir=None):
    return compose(["method=[network_dissection]", *overrides], config_dir=config_dir).config


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
    (command,) = re.findall(r"\$ dissectbench ((?:.*\\\n)*.*)", text)
    # The architecture without its weights, which the tests cannot download.
    random = "target=torchvision target.name=resnet18 target.weights=null"
    command = command.replace("target=resnet18", random).replace("\\\n", " ").replace("DIR", "set")
    assert main([*command.split(), "--dry-run"]) == 0

    config = composed("probe=listed", "probe.root=set", "references=probe", config_dir="my_configs")
    probe = build(config.probe, "probe")
    assert [probe.classes[label] for label in probe.labels] == ["bee", "ant"]
    assert probe.annotations.of(0).whole == (2,)
    assert len(build(config.references, "references")) == 2

    scope = {}
    exec(code[1], scope)
    assert scope["Centre"]().of(0).planes.sum() == 56 * 56
