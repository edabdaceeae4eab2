"""Tallies: compared with counting pixel by pixel; merged, interrupted, resumed, damaged."""

import os
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import unopened_images
from hypothesis import given, settings
from hypothesis import strategies as st
from unopened_images import UnopenedImages

from dissectbench.datasets.probing_set import Annotations, ImageAnnotation, Label
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer, MapBatch, Region
from dissectbench.methods.network_dissection.tally import Tally, category_of
from dissectbench.methods.network_dissection.tally_pass import TallySettings, tally_layer
from dissectbench.methods.upsample import Upsampling


class Labels(Annotations):
    """Annotations from a list; label n belongs to category n modulo the number of categories."""

    def __init__(self, of_images, n_labels, categories=("a", "b", "c")):
        self.categories, self.of_images = categories, of_images
        self.labels = tuple(
            Label(n, f"label {n}", categories[n % len(categories)]) for n in range(1, n_labels + 1)
        )

    def of(self, index):
        return self.of_images[index]

    def fingerprint(self):
        return "labels"


def arrays(maps, labels, kind=ArrayLayer, **settings) -> Any:
    return kind(maps.astype(np.float32), UnopenedImages(len(maps), labels), Cache(os.devnull), **settings)


class Cropped(ArrayLayer):
    """A layer whose maps cover only a part of each image; records the images read."""

    def __init__(self, maps, labels, cache, region=Region(), batch=64):  # noqa: B008
        super().__init__(maps, labels, cache)
        self.seen, self.maps_at_once = region, batch
        self.images_read = []

    def region(self, index):
        return self.seen

    def maps(self, images=None):
        indices = np.arange(len(self.probe)) if images is None else np.asarray(images, np.int64)
        for start in range(0, len(indices), self.maps_at_once):
            chosen = indices[start : start + self.maps_at_once]
            self.images_read += chosen.tolist()
            yield MapBatch(chosen, self._maps[chosen])


def random_labels_and_maps(seed, images=7, shape=(12, 10), n_labels=9, planes=3):
    rng = np.random.default_rng(seed)
    annotations = []
    for _ in range(images):
        some = rng.integers(0, n_labels + 1, (rng.integers(0, planes + 1), *shape)).astype(np.int32)
        some[rng.random(some.shape) < 0.3] = 0
        whole = tuple(rng.choice(np.arange(1, n_labels + 1), rng.integers(0, 3), replace=False).tolist())
        annotations.append(ImageAnnotation(shape, some, whole))
    maps = np.round(rng.standard_normal((images, 4, 4, 5)) * 8).astype(np.float32) / 8
    return Labels(annotations, n_labels), maps


def pixel_by_pixel(masks, annotations):
    """Every tally array by its definition; masks are bool [images, units, H, W]."""
    units, n, c = masks.shape[1], len(annotations.labels) + 1, len(annotations.categories)
    categories = annotations.categories
    category = {label.number: categories.index(label.category) for label in annotations.labels}
    tally = Tally.empty(range(units), n - 1, c)
    for index in range(len(masks)):
        annotation = annotations.of(index)
        tally.images += 1
        in_image = {category[n] for n in [*annotation.planes.ravel(), *annotation.whole] if n}
        in_mask = [set() for _ in range(units)]
        for y in range(annotation.shape[0]):
            for x in range(annotation.shape[1]):
                labels = [n for n in [*annotation.planes[:, y, x], *annotation.whole] if n]
                for label in labels:
                    tally.truth[label] += 1
                for label in set(labels):
                    tally.truth_unique[label] += 1
                for unit in np.flatnonzero(masks[index, :, y, x]):
                    tally.activation[unit] += 1
                    in_mask[unit] |= {category[label] for label in labels}
                    for label in labels:
                        tally.intersection[unit, label] += 1
                    for label in set(labels):
                        tally.intersection_unique[unit, label] += 1
        for unit in range(units):
            area = masks[index, unit].sum()
            for position in in_image:
                tally.activation_paper[unit, position] += area
            for position in in_mask[unit]:
                tally.activation_lite[unit, position] += area
    return tally


def quantiles(maps, fraction):
    return np.asarray(np.quantile(maps, fraction, axis=(0, 2, 3)), np.float64)


def assert_equal(tally, expected):
    for field in fields(Tally):
        a, b = getattr(tally, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_counting_pixel_by_pixel(seed):
    labels, maps = random_labels_and_maps(seed)
    # Maps with one cell per pixel need no interpolation, so this tests the counting only.
    maps = (
        np.random.default_rng(seed).standard_normal((len(labels.of_images), 4, 12, 10)).astype(np.float32)
    )
    thresholds = quantiles(maps, 0.8)
    tally = tally_layer(arrays(maps, labels), thresholds)
    expected = pixel_by_pixel(maps > thresholds[:, None, None], labels)
    assert_equal(tally, expected)
    assert (tally.intersection != tally.intersection_unique).any()


def test_the_definitions_differ_as_in_the_worked_example():
    plane = np.zeros((3, 1, 4, 4), np.int32)
    plane[0, 0, :, :2] = 1
    plane[2, 0, 3] = 2
    whole = [(3,), (4,), ()]
    labels = Labels([ImageAnnotation((4, 4), plane[i], whole[i]) for i in range(3)], 4)
    kinds = {1: "object", 2: "object", 3: "scene", 4: "texture"}
    labels.categories = ("object", "scene", "texture")
    labels.labels = tuple(Label(n, str(n), kind) for n, kind in kinds.items())
    mask = np.zeros((3, 1, 4, 4), np.float32)
    mask[0, 0, :3, 1] = mask[0, 0, 0, 3] = 1  # four pixels, three of them on label 1
    mask[1, 0, 0, :2] = 1
    mask[2, 0, 0, :3] = 1  # three pixels, none on label 2
    tally = tally_layer(arrays(mask, labels), np.array([0.5]))
    iou = {d: tally.iou(d, category_of(labels))[0] for d in ("paper", "lite", "all", "dissect")}
    assert iou["paper"].tolist() == [0, 3 / 12, 0, 4 / 16, 2 / 16]
    assert iou["lite"].tolist() == [0, 3 / 9, 0, 4 / 16, 2 / 16]
    assert iou["dissect"].tolist() == [0, 3 / 14, 0, 4 / 21, 2 / 23]
    assert iou["all"].tolist() == iou["dissect"].tolist()


def test_a_unit_that_is_a_labels_mask_has_iou_one():
    labels, _ = random_labels_and_maps(3, planes=1)
    maps = np.zeros((len(labels.of_images), 1, 12, 10), np.float32)
    for index in range(len(labels.of_images)):
        annotation = labels.of(index)
        maps[index, 0] = (annotation.planes == 5).any(axis=0) | (5 in annotation.whole)
    tally = tally_layer(arrays(maps, labels), np.array([0.0]))
    for denominator in ("paper", "lite", "all", "dissect"):
        assert tally.iou(denominator, category_of(labels))[0].argmax() == 5
    assert tally.iou("dissect", category_of(labels))[0, 5] == 1


def test_a_pixel_with_one_label_in_two_planes_counts_once_for_dissect_only():
    planes = np.ones((2, 3, 3), np.int32)
    labels = Labels([ImageAnnotation((3, 3), planes, (1,))], 1, ("a",))
    layer = arrays(np.ones((1, 1, 3, 3)), labels)
    tally = tally_layer(layer, np.array([0.5]))
    assert (tally.intersection[0, 1], tally.truth[1]) == (27, 27)
    assert (tally.intersection_unique[0, 1], tally.truth_unique[1]) == (9, 9)
    assert tally.iou("dissect", category_of(labels))[0, 1] == 1


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=7, max_size=7), st.permutations(range(4))
)
def test_tallies_of_any_split_of_the_images_add_up_to_the_same_tally(seed, shard_of, order):
    labels, maps = random_labels_and_maps(seed)
    layer = arrays(maps, labels)
    thresholds = quantiles(maps, 0.7)
    merged = Tally.empty(range(4), 9, 3)
    for shard in order:
        images = [i for i in range(7) if shard_of[i] == shard]
        merged = merged.merge(tally_layer(layer, thresholds, images=images, workers=1))
    assert_equal(merged, tally_layer(layer, thresholds, workers=1))


@pytest.mark.numerics
@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (1, 3), (3, 2), (64, 1)])
def test_a_tally_does_not_depend_on_batches_workers_or_the_order_of_images(batch, workers):
    labels, maps = random_labels_and_maps(11, images=9)
    thresholds = quantiles(maps, 0.7)
    expected = tally_layer(arrays(maps, labels), thresholds)
    layer = arrays(maps, labels, Cropped, batch=batch)
    order = np.random.default_rng(batch).permutation(9).tolist()
    assert_equal(tally_layer(layer, thresholds, workers=workers, images=order), expected)


def test_images_of_several_sizes_are_counted_together():
    small, maps = random_labels_and_maps(1)
    large, more = random_labels_and_maps(2, shape=(20, 17))
    mixed = [
        annotation for pair in zip(small.of_images, large.of_images, strict=True) for annotation in pair
    ]
    both = np.stack([maps, more], axis=1).reshape(-1, *maps.shape[1:])
    thresholds = np.zeros(4) + 0.5

    def tally(annotations, values):
        return tally_layer(arrays(values, Labels(annotations, 9)), thresholds)

    apart = tally(small.of_images, maps).merge(tally(large.of_images, more))
    assert_equal(tally(mixed, both), apart)


def test_pixels_outside_the_region_are_not_counted():
    labels, maps = random_labels_and_maps(5)
    inside = (slice(3, 9), slice(2, 8))
    cropped = [
        ImageAnnotation((6, 6), np.ascontiguousarray(a.planes[:, inside[0], inside[1]]), a.whole)
        for a in labels.of_images
    ]
    thresholds = quantiles(maps, 0.7)
    layer = arrays(maps, labels, Cropped, region=Region(0.2, 0.25, 0.8, 0.75))
    by_hand = arrays(maps, Labels(cropped, 9))
    assert_equal(tally_layer(layer, thresholds), tally_layer(by_hand, thresholds))


def test_a_region_without_a_pixel_adds_nothing():
    labels, maps = random_labels_and_maps(5)
    layer = arrays(maps, labels, Cropped, region=Region(0.501, 0.501, 0.502, 0.502))
    tally = tally_layer(layer, np.zeros(4))
    assert tally.images == len(labels.of_images)
    assert tally.truth.sum() == tally.activation.sum() == 0


def test_upsampling_is_a_setting():
    labels, _ = random_labels_and_maps(6)
    layer = arrays(np.ones((len(labels.of_images), 1, 3, 3)), labels)
    repeated_border = tally_layer(layer, np.array([0.9]))
    zero_padded = tally_layer(layer, np.array([0.9]), TallySettings(Upsampling("zero_padded")))
    assert repeated_border.activation[0] == len(labels.of_images) * 120
    assert 0 < zero_padded.activation[0] < repeated_border.activation[0]


class InterruptedPassError(Exception):
    """Raised in place of killing the process."""


class Failing(Cropped):
    """Raises after two batches."""

    def maps(self, images=None):
        if len(self.images_read) >= 2 * self.maps_at_once:
            raise InterruptedPassError
        return super().maps(images)


def test_an_interrupted_pass_resumes_at_the_checkpoint(tmp_path):
    labels, maps = random_labels_and_maps(8, images=9)
    thresholds = quantiles(maps, 0.7)
    file = tmp_path / "partial.npz"
    with pytest.raises(InterruptedPassError):
        tally_layer(
            arrays(maps, labels, Failing, batch=2),
            thresholds,
            checkpoint=file,
            checkpoint_seconds=0,
        )
    layer = arrays(maps, labels, Cropped, batch=2)
    resumed = tally_layer(layer, thresholds, checkpoint=file)
    assert layer.images_read == [4, 5, 6, 7, 8]
    assert not file.exists()
    assert_equal(resumed, tally_layer(layer, thresholds))


def test_a_damaged_checkpoint_is_ignored(tmp_path):
    labels, maps = random_labels_and_maps(8)
    layer = arrays(maps, labels)
    file = tmp_path / "partial.npz"
    for content in (b"", b"PK\x03\x04 torn", b"no archive"):
        file.write_bytes(content)
        assert Tally.load(file) is None
        assert tally_layer(layer, np.zeros(4), checkpoint=file).images == 7


def test_a_saved_tally_is_loaded_unchanged(tmp_path):
    labels, maps = random_labels_and_maps(9)
    tally = tally_layer(arrays(maps, labels), np.zeros(4))
    tally.save(tmp_path / "tally.npz")
    loaded = Tally.load(tmp_path / "tally.npz")
    assert loaded is not None
    assert_equal(loaded, tally)
    assert all(getattr(loaded, f.name).dtype == np.int64 for f in fields(Tally))


def test_labels_are_read_in_worker_threads_without_changing_a_count():
    class Traced(Labels):
        threads: ClassVar[set[int]] = set()

        def of(self, index):
            self.threads.add(threading.get_ident())
            return super().of(index)

    plain, maps = random_labels_and_maps(10, images=9)
    labels = Traced(plain.of_images, 9)
    tally = tally_layer(arrays(maps, labels), np.zeros(4), workers=2)
    assert_equal(tally, tally_layer(arrays(maps, plain), np.zeros(4), workers=1))
    assert threading.get_ident() not in Traced.threads


@pytest.mark.parametrize("wrong", [10, -3])
def test_an_unknown_label_number_is_refused_with_its_image(wrong):
    labels, maps = random_labels_and_maps(4, planes=2)
    planes = np.full((1, 12, 10), wrong, np.int32)
    labels.of_images[3] = ImageAnnotation((12, 10), planes)
    with pytest.raises(InputError, match=rf"image 3.*{wrong}"):
        tally_layer(arrays(maps, labels), np.zeros(4))


def test_an_unknown_definition_is_refused():
    labels, maps = random_labels_and_maps(4)
    tally = tally_layer(arrays(maps, labels), np.zeros(4))
    unknown: Any = "union"
    with pytest.raises(ValueError, match="union"):
        tally.iou(unknown, category_of(labels))


WITHOUT_COMPILATION_CACHE = """
from numba.core import caching
caching.FunctionCache._impl_class._locator_classes = []  # as if no cache folder were writable
import numpy as np
from dissectbench.methods.network_dissection.tally_kernel import find_patterns
index, first, area = find_patterns(np.array([[4, 4, 5]], np.int32))
print(type(find_patterns._cache).__name__, index.tolist(), first.tolist(), area.tolist())
"""


@pytest.mark.slow
def test_counting_works_without_a_writable_folder_for_compiled_code():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILATION_CACHE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "NullCache [0, 0, 1] [0, 2] [2, 1]"


COMPILE = """
from dissectbench.harness.progress import Progress
from dissectbench.methods.network_dissection.labelled_images import compile_loops
compile_loops(Progress("plain"))
"""


@pytest.mark.slow
def test_compiling_is_shown_the_first_time_and_kept_on_disk(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "default", "-c", COMPILE]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    (line,) = first.stderr.splitlines()  # no warning next to it
    assert "compiling Network Dissection's loops (first use)" in line
    assert (first.stdout, second.stdout, second.stderr) == ("", "", "")
    assert list(tmp_path.rglob("*.nbc"))


PASS = """
import sys
import numpy as np
from dissectbench.methods.network_dissection import labelled_images, tally_kernel
labelled_images._run_loops_once()
names = ["find_patterns", "tabulate", "add_labels", "add_masks"]
loops = [getattr(tally_kernel, name) for name in names]
before = [len(loop.signatures) for loop in loops]
sys.path[:0] = sys.argv[1:]
from test_tally import *
labels, maps = random_labels_and_maps(3)
for annotation in labels.of_images:
    annotation.planes.setflags(write=False)
tally_layer(arrays(maps, labels), quantiles(maps, 0.7), units=[3, 1])
layer = arrays(np.asfortranarray(maps), labels, Cropped, region=Region(0.2, 0.25, 0.8, 0.75))
tally_layer(layer, quantiles(maps, 0.7), TallySettings(Upsampling("zero_padded")))
print(before, [len(loop.signatures) for loop in loops])
"""


@pytest.mark.slow
def test_a_pass_compiles_nothing_that_was_not_compiled_before():
    folders = [str(Path(file).parent) for file in (__file__, unopened_images.__file__)]
    command = [sys.executable, "-c", PASS, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 1, 1, 1] [1, 1, 1, 1]"
