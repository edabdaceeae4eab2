"""Tests faults of the pass: unreadable images, invalid input, full disks, killed processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.harness.activations import npy_files
from dissectbench.harness.errors import InputError, UnreadableImageError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.targets.target import Target

# Unreadable images --------------------------------------------------------------------------------


def damage_images(folder: Path) -> None:
    whole = (folder / "005.jpg").read_bytes()
    (folder / "005.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "020.jpg").write_text("not an image")
    for number in range(32, 48):  # a whole block
        (folder / f"{number:03}.jpg").write_bytes(b"")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(copied: Path, resnet, tmp_path: Path, workers: int, stored):
    damage_images(copied)
    with pytest.raises(UnreadableImageError) as caught:
        stored(resnet(), FlatFolder(copied), tmp_path / "store", workers=workers)
    assert caught.value.path.endswith("005.jpg")
    assert "activations.on_error=skip" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_skipped_and_listed(
    image_folder: Path, copied: Path, resnet, tmp_path: Path, workers: int, stored
):
    damage_images(copied)
    bad = [5, 20, *range(32, 48)]
    whole = stored(resnet(), FlatFolder(image_folder), tmp_path / "whole", ["layer4"])["layer4"]
    store = tmp_path / "store"
    layer = stored(resnet(), FlatFolder(copied), store, ["layer4"], on_error="skip", workers=workers)[
        "layer4"
    ]
    assert [Path(path).name for path, _ in layer.skipped] == [f"{number:03}.jpg" for number in bad]
    assert all(reason for _, reason in layer.skipped)
    manifest = json.loads(next(store.glob("*/manifest.json")).read_text())
    assert [image["index"] for image in manifest["skipped"]] == bad
    np.testing.assert_array_equal(layer.values, np.delete(whole.values, bad, 0))
    assert len(layer.probe) == 52 - len(bad)
    assert Path(layer.probe.locate(5)).name == "006.jpg"
    maps = np.concatenate([batch.maps for batch in layer.maps()])
    truth = ArrayLayer(maps, layer.probe, layer.cache)
    np.testing.assert_allclose(layer.threshold(0.05), truth.threshold(0.05), rtol=1e-6)


def test_a_run_that_raises_does_not_reuse_a_layer_with_skipped_images(
    copied: Path, resnet, tmp_path: Path, stored
):
    damage_images(copied)
    probe = FlatFolder(copied)
    stored(resnet(), probe, tmp_path / "store", ["fc"], on_error="skip")
    with pytest.raises(UnreadableImageError, match=r"005\.jpg"):
        stored(resnet(), probe, tmp_path / "store", ["fc"])


def test_skipped_images_that_become_readable_are_included_later(
    image_folder: Path, resnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored
):
    probe = FlatFolder(image_folder)
    real = FlatFolder.image

    def flaky(self, index: int) -> Image.Image:
        if index == 3:
            raise UnreadableImageError("003.jpg", "the disk was not mounted")
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(FlatFolder, "image", flaky)
        layer = stored(resnet(), probe, tmp_path, ["fc"], on_error="skip")["fc"]
        assert len(layer.skipped) == 1
    layer = stored(resnet(), probe, tmp_path, ["fc"], on_error="skip")["fc"]
    assert layer.skipped == ()
    assert len(layer.values) == 52


def test_a_set_without_a_readable_image_is_refused(tmp_path: Path, resnet, stored):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.jpg").write_text("not an image")
    with pytest.raises(InputError, match=r"none of the 1 images.*a\.jpg"):
        stored(resnet(), FlatFolder(folder), tmp_path / "store", on_error="skip")


# Invalid input ------------------------------------------------------------------------------------


class Empty(FlatFolder):
    def __len__(self) -> int:
        return 0


def test_an_empty_probing_set_is_refused(image_folder: Path, resnet, tmp_path: Path, stored):
    with pytest.raises(InputError, match="contains no images"):
        stored(resnet(), Empty(image_folder), tmp_path)


class NonFinite(torch.nn.Module):
    """Outputs one non-finite value for bright images."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.body = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = x.amax((1, 2, 3)) > 0.99
        changed = x.clone()
        changed[bright, 1, 2, 3] = self.value
        return self.body(changed)


class Shrink:
    def __call__(self, image: Image.Image) -> torch.Tensor:
        small = np.asarray(image.resize((8, 8)), np.float32) / 255
        return torch.from_numpy(small.transpose(2, 0, 1).copy())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_activations_that_are_not_finite_are_refused(tmp_path: Path, value: float, stored):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (9, 9), "white" if number == 18 else "gray").save(folder / f"{number:02}.png")
    target = Target.of(NonFinite(value), Shrink(), name="broken", device="cpu", example_size=(8, 8))
    with pytest.raises(InputError, match=r"layer body, unit 1: .*(nan|inf).*18\.png"):
        stored(target, FlatFolder(folder), tmp_path / "store", ["body"])


class ShapeByWidth:
    """Fails for square images, and returns two different shapes for the others."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if image.size == (64, 64):
            raise TypeError("no squares")
        return torch.zeros(3, 48, 48) if image.size[0] == 80 else torch.zeros(3, 50, 48)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_preprocessing_that_fails_is_named(
    image_folder: Path, resnet, tmp_path: Path, workers: int, stored
):
    target = Target.of(resnet().model, ShapeByWidth(), name="odd", device="cpu", example_size=(80, 48))
    with pytest.raises(InputError, match=r"fails for image .*001\.jpg: no squares"):
        stored(target, FlatFolder(image_folder), tmp_path, workers=workers)


def test_images_of_several_shapes_are_refused(copied: Path, resnet, tmp_path: Path, stored):
    for path in copied.glob("*.jpg"):
        if Image.open(path).size == (64, 64):
            path.unlink()
    target = Target.of(resnet().model, ShapeByWidth(), name="odd", device="cpu", example_size=(80, 48))
    with pytest.raises(InputError, match="different shapes"):
        stored(target, FlatFolder(copied), tmp_path / "store")


def test_an_example_size_of_another_shape_is_refused(image_folder: Path, resnet, tmp_path: Path, stored):
    class LargerForGrey:
        def __call__(self, image: Image.Image) -> torch.Tensor:
            # The target is observed with a grey image, which no image of the folder equals.
            side = 64 if image.getpixel((0, 0)) == (127, 127, 127) else 48
            return torch.zeros(3, side, side)

    target = Target.of(resnet().model, LargerForGrey(), name="odd", device="cpu")
    with pytest.raises(InputError, match="example_size"):
        stored(target, FlatFolder(image_folder), tmp_path / "store", ["layer2"])


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_shards")
def test_a_full_disk_is_explained_and_the_pass_resumes_later(
    counted, resnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored, content
):
    stored(resnet(), counted, tmp_path / "whole")
    counted.decoded.clear()
    real = npy_files.GrowingArray.flush

    def flush_until_full(self) -> None:
        real(self)
        if self.rows > 40:
            with npy_files.explained(self.path):
                raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(npy_files.GrowingArray, "flush", flush_until_full)
        with pytest.raises(InputError, match="the disk is full"):
            stored(resnet(), counted, tmp_path / "store")
    assert content(tmp_path / "whole").keys().isdisjoint(content(tmp_path / "store"))
    counted.decoded.clear()
    stored(resnet(), counted, tmp_path / "store")
    assert counted.decoded == list(range(32, 52))
    assert content(tmp_path / "store") == content(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_layers_that_resume_at_different_images_are_completed_in_one_pass(
    counted, resnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored, content
):
    stored(resnet(), counted, tmp_path / "whole", ["conv1", "layer4", "fc"])
    real = type(counted).image
    for last, names in ((33, ["conv1"]), (17, ["layer4"])):

        def interrupted(self, index: int, last: int = last) -> Image.Image:
            if index == last:
                raise KeyboardInterrupt
            return real(self, index)

        with monkeypatch.context() as patch:
            patch.setattr(type(counted), "image", interrupted)
            with pytest.raises(KeyboardInterrupt):
                stored(resnet(), counted, tmp_path / "store", names)
    counted.decoded.clear()
    stored(resnet(), counted, tmp_path / "store", ["conv1", "layer4", "fc"])
    assert counted.decoded == list(range(52))
    assert content(tmp_path / "store") == content(tmp_path / "whole")


KILLED = '''
import os, random, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from torchvision.transforms import Compose, Resize, ToTensor
from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.harness.activations.settings import ActivationSettings
from dissectbench.harness.activations import forward_pass, layer_writer, npy_files, store, upper_tail
from dissectbench.harness.cache import Cache
from dissectbench.harness.targets import Target

upper_tail._SMALL = 64
forward_pass.SHARD = 16
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 3, 2))
preprocess = Compose([Resize((12, 12)), ToTensor()])
target = Target.of(model, preprocess, name="net", device="cpu", example_size=(12, 12))
probe = FlatFolder(Path(sys.argv[1]))
root = Path(sys.argv[2])

def run(folder, keep_maps):
    return forward_pass.probe_layers(
        target, probe, ["0", "1", "2"], store=folder, cache=Cache(folder),
        settings=ActivationSettings(quantile_tail=0.05, tail_budget_gb=2e-5, keep_maps=keep_maps),
    )

def content(folder):
    return {(p.parent.name, p.name): p.read_bytes() for p in folder.glob("*/*.npy")}

def kill_after(step):
    """Kills the process after `step` calls of functions that write."""
    count = 0
    def counted(real):
        def wrapped(*args, **kwargs):
            nonlocal count
            result = real(*args, **kwargs)
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return wrapped
    for owner, name in [
        (npy_files.GrowingArray, "append"), (npy_files.GrowingArray, "flush"),
        (npy_files.GrowingArray, "finish"), (upper_tail._Log, "append"),
        (upper_tail.Tail, "sweep"), (layer_writer, "write_json"), (store, "write_json"),
        (store.shutil, "rmtree"), (Path, "rename"), (Path, "unlink"),
    ]:
        setattr(owner, name, counted(getattr(owner, name)))

def attempt(folder, step, keep_maps):
    child = os.fork()
    if child == 0:
        kill_after(step)
        run(folder, keep_maps)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

rng = random.Random(int(sys.argv[3]))
killed = 0
for keep_maps in (None, "float16"):
    run(root / f"whole{keep_maps}", keep_maps)
    whole = content(root / f"whole{keep_maps}")
    for trial in range(12):
        folder = root / f"{trial}{keep_maps}"
        for _ in range(rng.randint(1, 3)):
            killed += attempt(folder, rng.randint(1, 130), keep_maps) == -signal.SIGKILL
        run(folder, keep_maps)
        assert content(folder) == whole, trial
        left = [p.name for p in folder.rglob("*") if p.name.endswith((".part", ".log", "state.json"))]
        assert not left, left
print(killed)
'''


def in_process(code: str, *arguments: Any) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.mark.slow
def test_a_pass_killed_at_any_moment_ends_with_the_same_bytes(image_folder: Path, tmp_path: Path):
    killed = int(in_process(KILLED, image_folder, tmp_path, 5))
    assert killed > 20  # most of the 24 to 72 attempts: the test would otherwise prove little


TOGETHER = KILLED[: KILLED.index("def content")] + "run(root, None)"


@pytest.mark.slow
def test_two_processes_on_one_store_do_not_disturb_each_other(
    image_folder: Path, tmp_path: Path, content
):
    code = [sys.executable, "-c", TOGETHER, str(image_folder), str(tmp_path / "both")]
    both = [subprocess.Popen(code, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    in_process(TOGETHER, image_folder, tmp_path / "alone")
    assert content(tmp_path / "both") == content(tmp_path / "alone")
