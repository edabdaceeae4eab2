import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer, Region
from dissectbench.methods.milan.exemplars import (
    TopImages,
    exemplars,
    levels,
    masks,
    picture,
    top_images,
)
from dissectbench.methods.milan.settings import ExemplarSettings

VARIANTS = {"official": "zero", "paper": "edge"}


class Pictures(ProbingSet):
    """Images in memory, which notes what was asked for."""

    name = "pictures"

    def __init__(self, pixels):
        self.pixels, self.asked = pixels, []

    def __len__(self):
        return len(self.pixels)

    def image(self, index):
        self.asked.append(index)
        return Image.fromarray(self.pixels[index].transpose(1, 2, 0))

    def locate(self, index):
        return f"picture-{index}"

    def fingerprint(self):
        return f"pictures-{len(self.pixels)}"


class CountingLayer(ArrayLayer):
    """Notes which maps were computed, and hands them out a few at a time."""

    def maps(self, images=None):
        assert images is not None
        self.computed = [*getattr(self, "computed", []), *images]
        for start in range(0, len(images), 7):
            yield from super().maps(images[start : start + 7])


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "golden" / "milan"
    with np.load(folder / "exemplar_inputs.npz") as given, np.load(folder / "exemplar_expected.npz") as e:
        return {**given, **e}


def layer_of(maps, pixels=None):
    pixels = np.zeros((len(maps), 3, 8, 8), np.uint8) if pixels is None else pixels
    return CountingLayer(np.asarray(maps, np.float32), Pictures(pixels), Cache("never-written"))


def drawn(layer, top, chosen):
    """All masks [n, k, side, side] and pictures [n, k, 3, side, side] of a stream."""
    shape = (*top.indices.shape, chosen.image_size, chosen.image_size)
    found = np.zeros(shape, bool)
    pictures = np.zeros((*top.indices.shape, 3, *shape[2:]), np.uint8)
    for shown in exemplars(layer, top, chosen):
        found[shown.rows, shown.ranks] = shown.masks
        pictures[shown.rows, shown.ranks] = shown.pixels
    return found, pictures


def test_top_images_are_those_of_the_reference(reference):
    top = top_images(layer_of(reference["activations"]), range(6))
    assert np.array_equal(top.indices, reference["ids"])
    assert np.array_equal(top.values, reference["max_activations"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("percent", [99, 90])
def test_levels_and_masks_are_those_of_the_reference(reference, variant, percent):
    layer = layer_of(reference["activations"], reference["images"])
    chosen = ExemplarSettings(quantile=1 - percent / 100, variant=variant)
    np.testing.assert_allclose(levels(layer, chosen), reference[f"level_q{percent}"], atol=1e-5)
    top = top_images(layer, range(6))
    found, pictures = drawn(layer, top, chosen)
    expected = reference[f"masks_q{percent}_{VARIANTS[variant]}"][:, :, 0].astype(bool)
    assert found.sum() > 10_000
    assert (found != expected).sum() <= 25  # pixels within 1e-4 of the level
    if variant == "paper":
        assert np.array_equal(pictures, reference["images"][top.indices])


def test_a_unit_at_the_border_loses_the_border_only_in_the_official_variant():
    maps = np.ones((1, 7, 7), np.float32)
    limit = np.array([0.9])
    assert masks(maps, limit, ExemplarSettings()).all()
    attenuated = masks(maps, limit, ExemplarSettings(variant="official"))[0]
    assert not attenuated[0].any()
    assert attenuated[32:-32, 32:-32].all()


@given(st.lists(st.lists(st.integers(-2, 3), min_size=9, max_size=9), min_size=3, max_size=3), st.data())
@settings(max_examples=40, deadline=None)
def test_ties_go_to_the_earlier_image_whatever_units_are_asked_for(columns, data):
    layer = layer_of(np.array(columns, np.float32).T)
    units = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
    top = top_images(layer, units, count=4)
    for row, unit in enumerate(units):
        ranked = sorted(range(9), key=lambda image: (-columns[unit][image], image))
        assert top.indices[row].tolist() == ranked[:4]
        assert top.values[row].tolist() == [columns[unit][image] for image in ranked[:4]]


def test_the_spatial_maximum_ranks_even_where_values_are_means():
    maps = np.zeros((3, 1, 2, 2), np.float32)
    maps[1, 0] = 0.5
    maps[2, 0, 0, 0] = 1
    assert top_images(layer_of(maps), [0], count=2).indices.tolist() == [[2, 1]]


def test_each_image_is_shown_and_decoded_once_for_all_units():
    rng = np.random.default_rng(0)
    maps = rng.random((40, 90, 3, 3), np.float32)
    maps[5] += 1  # an exemplar of every unit: more masks than are made at once
    layer = layer_of(maps, rng.integers(0, 256, (40, 3, 8, 8), np.uint8))
    chosen = ExemplarSettings(count=4, image_size=16)
    top = top_images(layer, range(90), 4)
    stream = list(exemplars(layer, top, chosen))
    wanted = np.unique(top.indices).tolist()
    assert isinstance(layer.probe, Pictures)
    assert layer.computed == layer.probe.asked == wanted
    assert sorted({shown.index for shown in stream}) == wanted
    pairs = [(r, k) for s in stream for r, k in zip(s.rows.tolist(), s.ranks.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)) == 360
    assert max(len(shown.rows) for shown in stream) <= 64
    assert all((top.indices[s.rows, s.ranks] == s.index).all() for s in stream)


def test_a_units_exemplars_do_not_depend_on_the_other_units():
    rng = np.random.default_rng(1)
    layer = layer_of(rng.random((30, 5, 4, 4), np.float32))
    chosen = ExemplarSettings(count=6, image_size=20, quantile=0.1)
    together = drawn(layer, top_images(layer, range(5), 6), chosen)
    alone = drawn(layer, top_images(layer, [3], 6), chosen)
    assert np.array_equal(together[0][3], alone[0][0])
    assert 0 < alone[0].mean() < 1


def test_a_stream_goes_on_after_an_image():
    layer = layer_of(np.random.default_rng(2).random((20, 2, 2, 2), np.float32))
    top, chosen = top_images(layer, [0, 1], 5), ExemplarSettings(count=5, image_size=8)
    images = [shown.index for shown in exemplars(layer, top, chosen)]
    assert [s.index for s in exemplars(layer, top, chosen, after=images[3])] == images[4:]
    assert not list(exemplars(layer, TopImages(*(a[:0] for a in vars(top).values())), chosen))


@pytest.mark.parametrize(("variant", "shares"), [("paper", [1, 1, 1, 1]), ("official", [1, 1, 0, 0])])
def test_units_without_extent_mark_the_whole_picture(variant, shares):
    layer = layer_of(np.arange(200, dtype=np.float32)[:, None])
    chosen = ExemplarSettings(count=4, image_size=8, variant=variant)
    found, _ = drawn(layer, top_images(layer, [0], 4), chosen)
    assert found.mean(axis=(2, 3)).tolist() == [shares]


def test_a_constant_unit_has_empty_masks():
    layer = layer_of(np.full((30, 1, 3, 3), 0.25))
    found, _ = drawn(layer, top_images(layer, [0], 4), ExemplarSettings(count=4, image_size=12))
    assert not found.any()


def test_fewer_images_than_exemplars():
    layer = layer_of(np.arange(3.0)[:, None])
    assert top_images(layer, [0], 15).indices.tolist() == [[2, 1, 0]]
    assert levels(layer, ExemplarSettings()).tolist() == [2.0]  # three values: their upper 1 % is none


def test_values_that_are_not_finite_are_refused_by_unit():
    layer = layer_of(np.array([[0.0, 1], [np.nan, 2]]))
    assert top_images(layer, [1], 1).indices.tolist() == [[1]]
    with pytest.raises(ValueError, match="unit 0 are not all finite"):
        top_images(layer, [1, 0])
    with pytest.raises(IndexError, match="unit 2"):
        top_images(layer, [2])


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (100, 61)])
def test_the_official_picture_is_resized_to_256_and_cropped_to_224(size):
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
    assert np.array_equal(picture(image), np.asarray(expected).transpose(2, 0, 1))


def test_the_picture_shows_the_part_that_the_target_saw():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    shown = picture(Image.fromarray(np.ascontiguousarray(ramp)), 50, Region(0.25, 0.1, 0.75, 0.9))
    np.testing.assert_allclose(shown[0, 20], 50 + 2 * np.arange(50) + 0.5, atol=1)
    whole = picture(Image.fromarray(np.ascontiguousarray(ramp)), 50, Region())
    np.testing.assert_allclose(whole[0, 20, 1:-1], 4 * np.arange(1, 49) + 1.5, atol=1)


def test_padding_beyond_the_image_is_black():
    shown = picture(Image.new("RGB", (40, 20), (9, 9, 9)), 40, Region(0, -0.5, 1, 1.5))
    assert not shown[:, :9].any()
    assert (shown[:, 11:29] == 9).all()
    assert not shown[:, 31:].any()


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"quantile": 0.0}, {"quantile": 1.5}, {"image_size": 0}, {"variant": "other"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ExemplarSettings(**wrong)
