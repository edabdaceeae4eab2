"""The second pass: shared by layers and consumers, interrupted and resumed, with consumers that fail."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.harness.activations.exemplar_maps import exemplar_consumers, read_exemplar_maps
from dissectbench.harness.activations.map_pass import MapConsumer, run_map_pass
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.progress import Progress

LAYERS = ["conv1", "layer2", "layer4", "fc"]


class Recorder(MapConsumer):
    """Keeps the maps of some images, and their indices in a file that survives an interruption."""

    def __init__(self, layer, images, file: Path | None = None, dies_at: int = -1) -> None:
        self.layer, self.images, self.file, self.dies_at = layer, np.asarray(images), file, dies_at
        self.result = file.with_suffix(".done") if file else None
        self.maps: dict[int, np.ndarray] = {}
        self.added: list[int] = []
        self.closed = False

    def finished(self):
        return self.result is not None and self.result.exists()

    def open(self, progress):
        self.seen = json.loads(self.file.read_text()) if self.file and self.file.exists() else []
        return np.setdiff1d(self.images, self.seen)

    def add(self, batch, shared):
        for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
            if index == self.dies_at:
                raise KeyboardInterrupt
            shared.get(index, lambda i=index: COMPUTED.append(i))
            self.maps[index] = maps.copy()
            self.added.append(index)

    def save(self):
        if self.file:
            self.file.write_text(json.dumps([*self.seen, *self.added]))

    def finish(self):
        if self.result:
            self.result.touch()

    def close(self):
        self.closed = True


COMPUTED: list[int] = []  # what consumers asked `Shared` for, once per computation


@pytest.fixture
def layers(counted, resnet, stored, tmp_path):
    layers = stored(resnet(), counted, tmp_path / "store")
    counted.decoded.clear()
    COMPUTED.clear()
    return layers


def alone(layer, images):
    batches = list(layer.maps(images))
    return dict(
        zip(
            [i for b in batches for i in b.indices.tolist()],
            [m for b in batches for m in b.maps],
            strict=True,
        )
    )


@pytest.mark.numerics
def test_every_consumer_gets_the_maps_that_its_layer_gives_alone(layers, counted):
    needs = {"conv1": range(52), "layer2": [3, 17, 18, 51], "layer4": range(5, 52, 3), "fc": range(9)}
    consumers = [Recorder(layers[name], images) for name, images in needs.items()]
    again = Recorder(layers["layer4"], [8, 9])
    run_map_pass([*consumers, again])
    assert Counter(counted.decoded) == Counter(range(52))
    assert Counter(COMPUTED) == Counter(range(52))
    for consumer in (*consumers, again):
        assert consumer.added == consumer.images.tolist()
        expected = alone(consumer.layer, consumer.added)
        for index, maps in consumer.maps.items():
            np.testing.assert_array_equal(maps, expected[index])
        assert consumer.closed


def test_images_that_no_consumer_needs_are_not_opened_and_deep_layers_not_computed(
    layers, counted, resnet
):
    ran = []
    layers["layer2"].recomputation.taps.target.model.layer3.register_forward_hook(
        lambda *_: ran.append("layer3")
    )
    run_map_pass([Recorder(layers["layer2"], [4, 40]), Recorder(layers["conv1"], [40, 41])])
    assert sorted(counted.decoded) == [4, 40, 41]
    assert not ran


def test_maps_on_the_disk_and_maps_of_one_cell_need_no_image(counted, resnet, stored, tmp_path):
    kept = stored(resnet(), counted, tmp_path, keep_maps="float16")
    plain = stored(resnet(), counted, tmp_path / "plain", ["fc"])["fc"]
    counted.decoded.clear()
    consumers = [Recorder(layer, range(52)) for layer in [*kept.values(), plain]]
    run_map_pass(consumers)
    assert counted.decoded == []
    assert [len(consumer.maps) for consumer in consumers] == [52] * 5
    np.testing.assert_array_equal(consumers[-1].maps[7][:, 0, 0], plain.values[7])


def test_the_seconds_of_a_pass_are_those_of_its_consumers(layers):
    class Slow(Recorder):
        def add(self, batch, shared):
            time.sleep(0.02 * len(batch.indices))
            super().add(batch, shared)

    slow, other = Slow(layers["layer2"], range(10)), Recorder(layers["conv1"], range(52))
    idle = Recorder(layers["fc"], np.empty(0, np.int64))
    seconds = run_map_pass([slow, other, idle])
    assert set(seconds) == {slow, other, idle}
    assert seconds[slow] >= 0.2
    assert seconds[other] > 0


@pytest.mark.parametrize("settings", [{"workers": 2}, {"batch_size": 5}])
def test_maps_do_not_depend_on_workers_or_batch_size(image_folder, resnet, stored, tmp_path, settings):
    results = []
    for chosen in ({}, settings):
        layer = stored(resnet(), FlatFolder(image_folder), tmp_path, ["layer4"], **chosen)["layer4"]
        consumer = Recorder(layer, range(40))
        run_map_pass([consumer])
        results.append(np.stack(list(consumer.maps.values())))
    np.testing.assert_array_equal(*results)


def test_an_interrupted_pass_resumes_at_each_consumers_last_save(layers, tmp_path):
    def consumers(dies_at):
        first = Recorder(layers["conv1"], range(52), tmp_path / "first.json", dies_at)
        return [first, Recorder(layers["layer4"], range(10, 52), tmp_path / "second.json")]

    interrupted = consumers(dies_at=40)
    with pytest.raises(KeyboardInterrupt):
        run_map_pass(interrupted, save_seconds=0)
    assert all(consumer.closed for consumer in interrupted)
    resumed = consumers(dies_at=-1)
    run_map_pass(resumed)
    assert resumed[0].added == list(range(32, 52))  # after two batches of 16
    assert resumed[1].added == list(range(32, 52))
    finished = consumers(dies_at=0)
    run_map_pass(finished)
    assert finished[0].added == finished[1].added == []


def test_a_consumer_that_fails_is_left_out_and_the_others_finish(layers, tmp_path):
    class Failing(Recorder):
        def add(self, batch, shared):
            raise ValueError("a map is not finite")

    failing = Failing(layers["layer2"], range(52), tmp_path / "failing.json")
    other = Recorder(layers["layer4"], range(52), tmp_path / "other.json")
    with pytest.raises(ValueError, match="not finite"):
        run_map_pass([failing, other])
    assert len(other.maps) == 52
    assert other.finished()
    assert not failing.finished()
    assert failing.closed


def test_the_pass_shows_its_progress(layers, capfd):
    consumers = [Recorder(layers[name], [0, 1, 2]) for name in ("layer2", "layer4")]
    run_map_pass(consumers, Progress("plain"))
    assert "maps of layer2, layer4 of resnet18: 3 in" in capfd.readouterr().err
    run_map_pass([Recorder(layers["layer2"], [])], Progress("plain"))
    assert capfd.readouterr().err == ""


# Exemplar maps -----------------------------------------------------------------------------------


def exemplars(layer, units, count=6):
    return np.stack([layer.exemplars(unit, count).indices for unit in units])


def gathered(layer, units, images):
    maps = np.empty((*images.shape, *layer.map_shape), np.float32)
    indices = []
    for index, positions, of_units in read_exemplar_maps(layer, units, images):
        indices.append(index)
        maps.reshape(-1, *layer.map_shape)[positions] = of_units
    assert indices == np.unique(images).tolist()
    return maps


@pytest.mark.numerics
def test_gathered_maps_are_those_of_the_layer_and_are_read_from_the_cache(layers, counted):
    layer = layers["layer2"]
    first, later = [5, 1, 77], [77, 2, 5, 100]
    direct = gathered(layer, later, exemplars(layer, later))
    run_map_pass(exemplar_consumers(layer, first, exemplars(layer, first)))
    counted.decoded.clear()
    (consumer,) = exemplar_consumers(layer, later, exemplars(layer, later))
    missing = exemplars(layer, [2, 100])
    run_map_pass([consumer])
    assert sorted(counted.decoded) == np.unique(missing).tolist()
    assert exemplar_consumers(layer, later, exemplars(layer, later)) == []
    counted.decoded.clear()
    np.testing.assert_array_equal(gathered(layer, later, exemplars(layer, later)), direct)
    assert counted.decoded == []


def test_the_images_of_a_unit_are_part_of_what_is_looked_up(layers):
    layer = layers["layer2"]
    run_map_pass(exemplar_consumers(layer, [3], exemplars(layer, [3], 4)))
    assert exemplar_consumers(layer, [3], exemplars(layer, [3], 4)) == []
    assert len(exemplar_consumers(layer, [3], exemplars(layer, [3], 5))) == 1


def test_damaged_exemplar_maps_are_gathered_again(layers, tmp_path):
    layer = layers["layer2"]
    images = exemplars(layer, [3])
    run_map_pass(exemplar_consumers(layer, [3], images))
    expected = gathered(layer, [3], images)
    (file,) = (tmp_path / "store" / "cache").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-4])
    run_map_pass(exemplar_consumers(layer, [3], images))
    assert exemplar_consumers(layer, [3], images) == []
    np.testing.assert_array_equal(gathered(layer, [3], images), expected)


def test_vector_layers_have_their_exemplar_maps_already(layers):
    layer = layers["fc"]
    images = exemplars(layer, [3, 4])
    assert exemplar_consumers(layer, [3, 4], images) == []
    np.testing.assert_array_equal(gathered(layer, [3, 4], images)[0, :, 0, 0], layer.maxima[images[0], 3])


class Fatal(ArrayLayer):
    """Kills its process when the maps of an image are read for the first time."""

    fatal = -1

    def maps(self, images=None) -> Any:
        log = self.cache.root / "log"
        for index in images or ():
            if index == self.fatal and not (self.cache.root / "killed").exists():
                (self.cache.root / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with log.open("a") as file:
                file.write(f"{index}\n")
        return super().maps(images)


def main(folder: str, fatal: str) -> None:
    """Gathers exemplar maps of random activations; the process may be killed at an image."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from unopened_images import UnopenedImages

    Path(folder).mkdir(exist_ok=True)
    maps = np.random.default_rng(0).random((60, 5, 3, 3), np.float32)
    layer: Any = Fatal(maps, UnopenedImages(60), Cache(folder))
    layer.fatal, layer.maps_at_once = int(fatal), 4
    images = exemplars(layer, range(5), 12)
    run_map_pass(exemplar_consumers(layer, range(5), images), save_seconds=0)
    np.save(Path(folder) / "gathered.npy", gathered(layer, range(5), images))


@pytest.mark.parametrize("fatal", [20, 40])
def test_a_killed_pass_reads_the_saved_images_only_once(tmp_path, fatal):
    def run(folder, fatal):
        command = [sys.executable, __file__, str(tmp_path / folder), str(fatal)]
        return subprocess.run(command, check=False).returncode

    assert run("whole", -1) == 0
    images = (tmp_path / "whole" / "log").read_text().split()
    fatal = min(int(index) for index in images if int(index) >= fatal)
    assert run("killed", fatal) == -signal.SIGKILL
    assert run("killed", fatal) == 0
    results = [(tmp_path / name / "gathered.npy").read_bytes() for name in ("whole", "killed")]
    assert results[0] == results[1]
    twice = [i for i, n in Counter((tmp_path / "killed" / "log").read_text().split()).items() if n > 1]
    assert len(twice) <= 4  # the batch in progress


if __name__ == "__main__":
    main(*sys.argv[1:])


def test_consumers_with_the_same_result_do_the_work_once(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{name}.png")
    maps = rng.random((2, 3, 2, 2)).astype(np.float32)
    layer: Any = ArrayLayer(maps, FlatFolder(tmp_path / "images"), Cache(tmp_path / "cache"))
    images = np.array([[0, 1], [1, 0]])
    # As two methods that need the same maps; each would wait for the lock of the other.
    consumers = [exemplar_consumers(layer, [0, 2], images)[0] for _ in range(2)]
    assert list(run_map_pass(consumers)) == consumers[:1]
    [(_, _, first), _] = read_exemplar_maps(layer, [0, 2], images)
    assert np.array_equal(first, maps[0, [0, 2]])
