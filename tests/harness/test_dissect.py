"""A model in memory is described with one call."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor

from dissectbench.harness import InputError, dissect
from dissectbench.harness.targets import Target
from dissectbench.methods import NetworkDissection

LOOK = Compose([Resize((32, 32)), ToTensor()])


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
        )


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(24)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_and_arrays_are_enough(arrays, capfd):
    found = dissect(network(), arrays, preprocess=LOOK, layers=["0", "1"], units=4)
    assert capfd.readouterr() == ("", "")
    assert found.descriptions.shape == (8, 6)
    assert list(found.descriptions.columns[:3]) == ["layer", "unit", "method"]
    assert found.layers["0"].values.shape == (24, 6)
    assert len(found.layers["1"].exemplars(2, 5).indices) == 5
    assert "<table" in found._repr_html_()
    assert found.run.status == "finished"


def test_the_kinds_of_images_give_the_same_activations(arrays, folder):
    images = [Image.fromarray(array) for array in arrays]
    for number, image in enumerate(images):
        path = folder / "photos" / "class" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    paths = sorted((folder / "photos" / "class").iterdir())
    expected = dissect(network(), arrays, preprocess=LOOK, layers=["0"], units=2)
    for kind in (images, paths, "photos", folder / "photos" / "class"):
        found = dissect(network(), kind, preprocess=LOOK, layers=["0"], units=2)
        assert np.array_equal(found.layers["0"].values, expected.layers["0"].values)
    same = dissect(network(), images, preprocess=LOOK, layers=["0"], units=2)
    assert same.run.path == expected.run.path


def test_calling_it_again_describes_nothing_again_and_a_changed_network_is_another_run(arrays):
    first = dissect(network(), arrays, preprocess=LOOK, layers=["0"], units=2)
    spent = (first.run.path / "spent.jsonl").read_bytes()
    again = dissect(network(), arrays, preprocess=LOOK, layers=["0"], units=2)
    assert again.run.path == first.run.path
    assert (first.run.path / "spent.jsonl").read_bytes() == spent
    other = dissect(network(seed=1), arrays, preprocess=LOOK, layers=["0"], units=2)
    assert other.run.path != first.run.path


def test_methods_are_names_or_objects(arrays):
    strict = NetworkDissection(iou_threshold=0.9)
    strict.name = "strict"
    found = dissect(
        network(), arrays, preprocess=LOOK, layers=["0"], units=2, methods=["network_dissection", strict]
    )
    assert set(found.descriptions.method) == {"network_dissection", "strict"}
    with pytest.raises(InputError, match="no such method"):
        dissect(network(), arrays, preprocess=LOOK, layers=["0"], methods=["network_disection"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": []}, "the list of images is empty"),
        ({"images": [1]}, "image 0 of the list is a int"),
        ({"images": [np.zeros((4, 4), np.uint8)]}, r"uint8 \[4, 4\]"),
        ({"images": "nowhere"}, "no such folder"),
        ({"preprocess": None}, "preprocess is not given"),
        ({"layers": "0"}, "give a list"),
        ({"layers": ["9"]}, "no layer named '9'"),
        ({"units": 0}, "units is 0"),
        ({"model": LOOK}, "model"),
        ({"settings": ["sead=3"]}, "did you mean seed"),
        ({"methods": []}, "no method is chosen"),
        ({"methods": ["clip_dissect"], "settings": ["encoder=tinyworld"]}, "made for the images of tin"),
    ],
)
def test_mistakes_are_named(arrays, changed, message):
    arguments = {"model": network(), "images": arrays, "preprocess": LOOK, "layers": ["0"]} | changed
    with pytest.raises(InputError, match=message):
        dissect(**arguments)


def test_a_target_has_its_own_preprocessing(arrays):
    target = Target.of(network(), LOOK, name="mine")
    assert dissect(target, arrays, layers=["0"], units=1).descriptions.shape[0] == 1
    with pytest.raises(InputError, match="its own preprocessing"):
        dissect(target, arrays, preprocess=LOOK, layers=["0"])


def test_an_unreadable_file_is_named_or_skipped(arrays, folder):
    Image.fromarray(arrays[0]).save(folder / "0.png")
    Image.fromarray(arrays[1]).save(folder / "1.png")
    (folder / "2.png").write_bytes(b"no image")
    files = [folder / f"{number}.png" for number in range(3)]
    with pytest.raises(InputError, match=r"2\.png"):
        dissect(network(), files, preprocess=LOOK, layers=["0"], units=1)
    skip = ["activations.on_error=skip"]
    found = dissect(network(), files, preprocess=LOOK, layers=["0"], units=1, settings=skip)
    assert list(found.run.skipped_images) == [str(files[2])]


def test_the_page_on_python_works_as_written(repository, arrays, folder, capsys):
    page = repository / "docs" / "python.md"
    if not page.exists():
        pytest.skip("the package was installed without its documentation")
    (folder / "photos").mkdir()
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / "photos" / f"{number}.png")
    section = page.read_text(encoding="utf-8").split("\n## ")[1]
    first, unit, files = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    names = {}
    with torch.random.fork_rng(devices=[]):
        exec(first, names)
    printed = capsys.readouterr().out
    assert "network_dissection" in printed
    assert len(printed.splitlines()) == 3
    exec(unit, names)
    assert capsys.readouterr().out.startswith("0:2 of Sequential")
    exec(files, names)
    assert (names["result"].run.path / "report" / "index.html").is_file()
    assert "2 units of each of 0" in (folder / "figure.txt").read_text(encoding="utf-8")
    attributes = re.findall(r"^\| `(\w+)", section, flags=re.MULTILINE)
    assert len(attributes) == 6
    assert all(hasattr(names["result"].layers["0"], attribute) for attribute in attributes)
