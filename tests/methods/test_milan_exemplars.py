"""Tests exemplars: top images, masks and images, against reference data and their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_images import ImageArray, ImageArrayLayer
from PIL import Image
from torchvision import transforms

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.methods.milan.exemplars import (
    exemplar_pixels,
    mask_thresholds,
    masks,
    stream_exemplars,
    top_images,
)
from dissectbench.methods.milan.settings import ExemplarSettings

VARIANTS = {"official": "zero", "paper": "edge"}


class CountingLayer(ImageArrayLayer):
    """Records the images whose maps were computed, and yields a few maps at a time."""

    def maps(self, images=None):
        assert images is not None
        self.computed = [*getattr(self, "computed", []), *images]
        for start in range(0, len(images), 7):
            yield from super().maps(images[start : start + 7])


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "golden" / "milan"
    inputs, expected = folder / "exemplar_inputs.npz", folder / "exemplar_expected.npz"
    with np.load(inputs) as given, np.load(expected) as results:
        return {**given, **results}


def layer_of(maps, pixels=None):
    pixels = np.zeros((len(maps), 3, 8, 8), np.uint8) if pixels is None else pixels
    return CountingLayer(np.asarray(maps, np.float32), ImageArray(pixels), Cache("never-written"))


def collected(layer, top, chosen):
    """Returns all masks [n, count, size, size] and images [n, count, 3, size, size] of a stream."""
    shape = (*top.indices.shape, chosen.image_size, chosen.image_size)
    all_masks = np.zeros(shape, bool)
    images = np.zeros((*top.indices.shape, 3, *shape[2:]), np.uint8)
    for exemplar in stream_exemplars(layer, top, chosen):
        all_masks[exemplar.rows, exemplar.ranks] = exemplar.masks
        images[exemplar.rows, exemplar.ranks] = exemplar.pixels
    return all_masks, images


def test_top_images_are_those_of_the_reference(reference):
    top = top_images(layer_of(reference["activations"]), range(6))
    assert np.array_equal(top.indices, reference["ids"])
    assert np.array_equal(top.values, reference["max_activations"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("percent", [99, 90])
def test_thresholds_and_masks_are_those_of_the_reference(reference, variant, percent):
    layer = layer_of(reference["activations"], reference["images"])
    chosen = ExemplarSettings(quantile=1 - percent / 100, variant=variant)
    thresholds = mask_thresholds(layer, chosen)
    np.testing.assert_allclose(thresholds, reference[f"level_q{percent}"], atol=1e-5)
    top = top_images(layer, range(6))
    marked, images = collected(layer, top, chosen)
    expected = reference[f"masks_q{percent}_{VARIANTS[variant]}"][:, :, 0].astype(bool)
    assert marked.sum() > 10_000
    assert (marked != expected).sum() <= 25  # pixels within 1e-4 of the threshold
    if variant == "paper":
        assert np.array_equal(images, reference["images"][top.indices])


def test_masks_lose_the_border_only_in_the_official_variant():
    maps = np.ones((1, 7, 7), np.float32)
    threshold = np.array([0.9])
    assert masks(maps, threshold, ExemplarSettings()).all()
    attenuated = masks(maps, threshold, ExemplarSettings(variant="official"))[0]
    assert not attenuated[0].any()
    assert attenuated[32:-32, 32:-32].all()


@given(st.lists(st.lists(st.integers(-2, 3), min_size=9, max_size=9), min_size=3, max_size=3), st.data())
@settings(max_examples=40, deadline=None)
def test_ties_go_to_the_lower_image_index_whatever_units_are_asked_for(columns, data):
    layer = layer_of(np.array(columns, np.float32).T)
    units = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
    top = top_images(layer, units, count=4)
    for row, unit in enumerate(units):
        ranked = sorted(range(9), key=lambda image: (-columns[unit][image], image))
        assert top.indices[row].tolist() == ranked[:4]
        assert top.values[row].tolist() == [columns[unit][image] for image in ranked[:4]]


def test_images_are_ranked_by_maximum_even_if_values_are_means():
    maps = np.zeros((3, 1, 2, 2), np.float32)
    maps[1, 0] = 0.5
    maps[2, 0, 0, 0] = 1
    assert top_images(layer_of(maps), [0], count=2).indices.tolist() == [[2, 1]]


def test_each_image_is_processed_and_decoded_once_for_all_units():
    rng = np.random.default_rng(0)
    maps = rng.random((40, 90, 3, 3), np.float32)
    maps[5] += 1  # an exemplar of every unit: more masks than are computed at once
    layer = layer_of(maps, rng.integers(0, 256, (40, 3, 8, 8), np.uint8))
    chosen = ExemplarSettings(count=4, image_size=16)
    top = top_images(layer, range(90), 4)
    stream = list(stream_exemplars(layer, top, chosen))
    distinct = np.unique(top.indices).tolist()
    assert layer.computed == layer.probe.opened == distinct
    assert sorted({exemplar.index for exemplar in stream}) == distinct
    positions = [p for e in stream for p in zip(e.rows.tolist(), e.ranks.tolist(), strict=True)]
    assert len(positions) == len(set(positions)) == 360
    assert max(len(exemplar.rows) for exemplar in stream) <= 64
    assert all((top.indices[e.rows, e.ranks] == e.index).all() for e in stream)


def test_a_units_exemplars_do_not_depend_on_the_other_units():
    rng = np.random.default_rng(1)
    layer = layer_of(rng.random((30, 5, 4, 4), np.float32))
    chosen = ExemplarSettings(count=6, image_size=20, quantile=0.1)
    together = collected(layer, top_images(layer, range(5), 6), chosen)
    alone = collected(layer, top_images(layer, [3], 6), chosen)
    assert np.array_equal(together[0][3], alone[0][0])
    assert 0 < alone[0].mean() < 1


def test_a_stream_resumes_after_an_image():
    layer = layer_of(np.random.default_rng(2).random((20, 2, 2, 2), np.float32))
    top, chosen = top_images(layer, [0, 1], 5), ExemplarSettings(count=5, image_size=8)
    images = [exemplar.index for exemplar in stream_exemplars(layer, top, chosen)]
    rest = [exemplar.index for exemplar in stream_exemplars(layer, top, chosen, after=images[3])]
    assert rest == images[4:]
    assert not list(stream_exemplars(layer, top.rows([]), chosen))


@pytest.mark.parametrize(("variant", "shares"), [("paper", [1, 1, 1, 1]), ("official", [1, 1, 0, 0])])
def test_units_without_extent_mark_the_whole_image(variant, shares):
    layer = layer_of(np.arange(200, dtype=np.float32)[:, None])
    chosen = ExemplarSettings(count=4, image_size=8, variant=variant)
    marked, _ = collected(layer, top_images(layer, [0], 4), chosen)
    assert marked.mean(axis=(2, 3)).tolist() == [shares]


def test_a_constant_unit_has_empty_masks():
    layer = layer_of(np.full((30, 1, 3, 3), 0.25))
    chosen = ExemplarSettings(count=4, image_size=12)
    marked, _ = collected(layer, top_images(layer, [0], 4), chosen)
    assert not marked.any()


def test_there_may_be_fewer_images_than_exemplars():
    layer = layer_of(np.arange(3.0)[:, None])
    assert top_images(layer, [0], 15).indices.tolist() == [[2, 1, 0]]
    # Of three values, none is in the upper 1 %.
    assert mask_thresholds(layer, ExemplarSettings()).tolist() == [2.0]


def test_values_that_are_not_finite_are_an_error_that_names_the_unit():
    layer = layer_of(np.array([[0.0, 1], [np.nan, 2]]))
    assert top_images(layer, [1], 1).indices.tolist() == [[1]]
    with pytest.raises(ValueError, match="unit 0 are not all finite"):
        top_images(layer, [1, 0])
    with pytest.raises(IndexError, match="unit 2"):
        top_images(layer, [2])


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (100, 61)])
def test_official_images_are_resized_to_256_and_cropped_to_224(size):
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
    assert np.array_equal(exemplar_pixels(image), np.asarray(expected).transpose(2, 0, 1))


def test_images_show_the_part_that_the_target_received():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    part = exemplar_pixels(image, 50, Region(0.25, 0.1, 0.75, 0.9))
    np.testing.assert_allclose(part[0, 20], 50 + 2 * np.arange(50) + 0.5, atol=1)
    whole = exemplar_pixels(image, 50, Region())
    np.testing.assert_allclose(whole[0, 20, 1:-1], 4 * np.arange(1, 49) + 1.5, atol=1)


def test_padding_beyond_the_image_is_black():
    pixels = exemplar_pixels(Image.new("RGB", (40, 20), (9, 9, 9)), 40, Region(0, -0.5, 1, 1.5))
    assert not pixels[:, :9].any()
    assert (pixels[:, 11:29] == 9).all()
    assert not pixels[:, 31:].any()


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"quantile": 0.0}, {"quantile": 1.5}, {"image_size": 0}, {"variant": "other"}]
)
def test_settings_out_of_range_are_rejected(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ExemplarSettings(**wrong)
