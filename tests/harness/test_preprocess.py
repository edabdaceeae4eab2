"""Measuring which part of an image a preprocessing shows."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from timm.data.transforms_factory import create_transform
from torchvision.transforms import (
    CenterCrop,
    Compose,
    Grayscale,
    InterpolationMode,
    Lambda,
    Normalize,
    Pad,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    ToTensor,
)
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import center_crop, crop, hflip, resize, rotate, vflip
from transformers import CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.harness.targets.preprocess import ProcessorTransform, RegionGauge

SIZES = [(500, 375), (375, 500), (224, 224), (256, 256), (640, 213), (97, 130), (64, 64)]


def measure(preprocess, size):
    region = RegionGauge(preprocess).region(size)
    return np.array([region.left, region.top, region.right, region.bottom])


def resized_and_cropped(size, resized, cropped):
    """Returns the exact region: the shorter side becomes `resized`, then a centred crop of `cropped`."""
    short = min(size)
    width, height = (int(resized * side / short) for side in size)
    left, top = (round((side - cropped) / 2) for side in (width, height))
    return np.array([left / width, top / height, (left + cropped) / width, (top + cropped) / height])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize(("resized", "cropped"), [(256, 224), (232, 224), (64, 48)])
def test_presets_of_torchvision_match_the_closed_form(size, interpolation, resized, cropped):
    preset = ImageClassification(crop_size=cropped, resize_size=resized, interpolation=interpolation)
    expected = resized_and_cropped(size, resized, cropped)
    np.testing.assert_allclose(measure(preset, size), expected, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_a_tensor_that_is_resized_without_antialiasing_matches_too(size):
    chain = Compose([ToTensor(), Resize(256, antialias=False), CenterCrop(224)])
    np.testing.assert_allclose(measure(chain, size), resized_and_cropped(size, 256, 224), atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_of_timm_matches_the_closed_form(size):
    chain = create_transform(input_size=(3, 224, 224), crop_pct=0.875, interpolation="bicubic")
    np.testing.assert_allclose(measure(chain, size), resized_and_cropped(size, 256, 224), atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_grey_images_match_too(size):
    chain = Compose([Grayscale(), Resize(64), CenterCrop(48), ToTensor(), Normalize(0.3, 0.1)])
    np.testing.assert_allclose(measure(chain, size), resized_and_cropped(size, 64, 48), atol=1e-3)


def test_exchanged_and_inverted_colours_do_not_matter():
    def changed_colours(image):
        return -3 * ToTensor()(center_crop(image, [50, 50]))[[2, 0, 1]] + 7

    np.testing.assert_allclose(
        measure(changed_colours, (100, 80)), [0.25, 0.1875, 0.75, 0.8125], atol=1e-3
    )


@pytest.mark.parametrize("size", [*SIZES, (32, 32), (20, 31)])
@pytest.mark.parametrize("side", [32, 224])
def test_resizing_both_sides_shows_exactly_the_whole_image(size, side):
    assert RegionGauge(Compose([Resize((side, side)), ToTensor()])).region(size) == Region()


def test_no_resizing_shows_exactly_the_whole_image():
    assert RegionGauge(ToTensor()).region((32, 48)) == Region()


def test_borders_within_a_thousandth_count_as_the_images_border_and_others_do_not():
    def without_a_column(image):
        return ToTensor()(crop(image, 0, 1, image.height, image.width - 1))

    assert RegionGauge(without_a_column).region((2000, 60)) == Region()
    np.testing.assert_allclose(measure(without_a_column, (400, 60)), [1 / 400, 0, 1, 1], atol=3e-4)


def test_a_crop_of_a_corner_is_measured():
    def corner(image):
        return ToTensor()(crop(image, 10, 40, 50, 60))

    np.testing.assert_allclose(measure(corner, (200, 100)), [0.2, 0.1, 0.5, 0.6], atol=1e-3)


@pytest.mark.parametrize("fill", [0, 100, 255])
def test_padding_is_outside_the_image(fill):
    chain = Compose([Pad((16, 24), fill=fill), ToTensor()])
    np.testing.assert_allclose(measure(chain, (32, 48)), [-0.5, -0.5, 1.5, 1.5], atol=2e-3)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (partial(ViTImageProcessor, size={"height": 64, "width": 64}), np.array([0, 0, 1, 1])),
        (
            partial(
                CLIPImageProcessor, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
            ),
            resized_and_cropped((300, 200), 64, 64),
        ),
        (
            partial(ConvNextImageProcessor, size={"shortest_edge": 224}, crop_pct=0.875),
            resized_and_cropped((300, 200), 256, 224),
        ),
    ],
)
def test_hugging_face_processors_are_measured_and_can_be_sent_to_workers(processor, expected):
    transform = pickle.loads(pickle.dumps(ProcessorTransform(processor())))
    np.testing.assert_allclose(measure(transform, (300, 200)), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (RandomHorizontalFlip(), "random"),
        (RandomResizedCrop(32), "random"),
        (RandomRotation(30), "random"),
        (Lambda(lambda image: rotate(image, 20)), "more than resize and crop"),
        (Lambda(hflip), "more than resize and crop"),
        (Lambda(vflip), "more than resize and crop"),
        (Lambda(lambda image: image.transpose(5)), "more than resize and crop"),  # exchanges the axes
        (Lambda(lambda image: image.point(lambda v: 255 * (v > 99))), "more than resize and crop"),
        (Lambda(lambda image: image.point(lambda _: 9)), "are the same"),
    ],
)
def test_anything_but_resize_and_crop_is_refused_with_a_hint(transform, reason):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with pytest.raises(InputError, match=f"{reason}.*\n.*method region"):
            RegionGauge(Compose([transform, ToTensor()])).region((80, 60))


def test_an_image_too_small_to_measure_is_refused():
    with pytest.raises(InputError, match="1 x 40 pixels is too small"):
        RegionGauge(ToTensor()).region((1, 40))


def test_the_region_method_of_a_preprocessing_is_used():
    class WithRegion:
        def __call__(self, image):
            raise AssertionError("not measured")

        def region(self, image_size):
            return Region(right=image_size[0] / 100)

    assert RegionGauge(WithRegion()).region((50, 30)) == Region(right=0.5)  # type: ignore[arg-type]


def test_each_size_is_measured_once():
    sizes = []

    def recorded(image):
        sizes.append(image.size)
        return ToTensor()(resize(image, [32, 32]))

    gauge = RegionGauge(recorded)
    first = gauge.region((90, 70))
    count = len(sizes)
    assert gauge.region((90, 70)) is first
    assert len(sizes) == count
    gauge.region((70, 90))
    assert sizes[count:] == [(70, 90)] * 2  # another size costs two images
