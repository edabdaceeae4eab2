"""Up-sampling: compared with reference values and torch; counted masks compared with whole maps."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.methods.network_dissection.labelled_images import label_patterns, placement
from dissectbench.methods.network_dissection.tally_kernel import Sums, add_masks
from dissectbench.methods.network_dissection.tally_pass import round_down
from dissectbench.methods.upsample import Upsampling, grid, upsample

WHOLE = Region()
HALF = Upsampling()
ZERO = Upsampling("zero_padded")


def dense(maps, over):
    return upsample(torch.from_numpy(np.ascontiguousarray(maps, np.float32)), over).numpy()


CASES = ["7x7_to_56x56", "7x7_to_112x112", "13x13_to_113x113", "8x8_to_32x32", "5x9_to_40x50"]


@pytest.mark.parametrize("case", [*CASES, "1x1_to_8x8"])
def test_half_pixel_upsampling_meets_the_reference(shared, case):
    data = np.load(shared / "golden/netdissect/upsample_cases.npz")
    maps, expected = data[f"{case}_input"], data[f"{case}_half_pixel_clamped"]
    over = grid(expected.shape, maps.shape, WHOLE, HALF)
    np.testing.assert_allclose(dense(maps[None], over)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_zero_padded_upsampling_meets_the_reference(shared, case):
    data = np.load(shared / "golden/netdissect/upsample_cases.npz")
    maps, expected = data[f"{case}_input"], data[f"{case}_zero_padded"]
    over = grid(expected.shape, maps.shape, WHOLE, ZERO)
    np.testing.assert_allclose(dense(maps[None], over)[0], expected, atol=1e-5, rtol=0)


def test_anchored_upsampling_meets_the_reference_for_alexnet(shared):
    data = np.load(shared / "golden/netdissect/upsample_cases.npz")
    maps = data["alexnet_conv5_13x13_to_113x113_input"]
    over = grid((113, 113), (13, 13), WHOLE, Upsampling("anchored", (8, 8)))
    expected = data["alexnet_conv5_13x13_to_113x113_rf_anchored"]
    np.testing.assert_allclose(dense(maps[None], over)[0], expected, atol=1e-5, rtol=0)


def test_borders_are_not_attenuated_unless_zero_padded():
    ones = np.ones((1, 7, 7), np.float32)
    assert (dense(ones, grid((56, 56), (7, 7), WHOLE, HALF)) == 1).all()
    attenuated = dense(ones, grid((56, 56), (7, 7), WHOLE, ZERO))[0]
    assert attenuated[28, :5].tolist() == [0.5625, 0.6875, 0.8125, 0.9375, 1]
    assert attenuated[0, 0] == 0.5625**2


def test_a_map_of_one_cell_covers_the_whole_image_without_attenuation():
    for mode in (HALF, ZERO):
        assert (dense(np.full((1, 1, 1), 3.0), grid((8, 6), (1, 1), WHOLE, mode)) == 3).all()


@pytest.mark.parametrize(("cells", "pixels"), [((7, 7), (56, 56)), ((5, 9), (41, 53)), ((9, 6), (4, 4))])
def test_half_pixel_upsampling_is_torchs_bilinear_without_aligned_corners(cells, pixels):
    maps = torch.randn(3, *cells, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(maps[None], pixels, mode="bilinear", align_corners=False)[
        0
    ]
    upsampled = upsample(maps, grid(pixels, cells, WHOLE, HALF))
    torch.testing.assert_close(upsampled, expected, atol=1e-5, rtol=0)


def by_hand(values, shape, region):
    """Up-samples one map pixel by pixel; NaN where the pixel's centre is outside the region."""
    result = np.full(shape, np.nan)
    for y in range(shape[0]):
        for x in range(shape[1]):
            v = ((y + 0.5) / shape[0] - region.top) / (region.bottom - region.top)
            u = ((x + 0.5) / shape[1] - region.left) / (region.right - region.left)
            if not (0 <= v < 1 and 0 <= u < 1):
                continue
            row = min(max(v * values.shape[0] - 0.5, 0), values.shape[0] - 1)
            column = min(max(u * values.shape[1] - 0.5, 0), values.shape[1] - 1)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            a, b = row - top, column - left
            result[y, x] = (1 - a) * ((1 - b) * values[top, left] + b * values[top, right]) + a * (
                (1 - b) * values[bottom, left] + b * values[bottom, right]
            )
    return result


@pytest.mark.parametrize(
    "region",
    [Region(0.125, 0.125, 0.875, 0.875), Region(0.3, 0, 0.9, 1), Region(0, 0.21, 1, 0.77), WHOLE],
)
def test_a_map_covers_exactly_the_region_that_the_target_saw(region):
    values = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    over = grid((23, 31), (5, 4), region, HALF)
    expected = by_hand(values, (23, 31), region)
    np.testing.assert_allclose(dense(values[None], over)[0], expected[over.window], atol=1e-5)
    assert np.isfinite(expected).sum() == over.shape[0] * over.shape[1]


def test_a_crop_of_whole_pixels_equals_upsampling_to_the_cropped_planes():
    values = np.random.default_rng(2).standard_normal((1, 7, 7)).astype(np.float32)
    inside = grid((32, 32), (7, 7), Region(0.125, 0.25, 0.875, 0.75), HALF)
    assert inside.window == (slice(8, 24), slice(4, 28))
    np.testing.assert_array_equal(
        dense(values, inside), dense(values, grid((16, 24), (7, 7), WHOLE, HALF))
    )


def masks(maps, thresholds, over):
    """Recovers the counted masks: every pixel has a label of its own, so counts identify pixels."""
    size = over.shape[0] * over.shape[1]
    planes = np.arange(1, size + 1, dtype=np.int32).reshape(1, *over.shape)
    patterns: Any = label_patterns(planes, [], np.zeros(size + 1, np.int64))
    of_images = []
    for of_image in maps:
        units = len(of_image)
        shapes = ((units, size + 1), (units, size + 1), (units,), (units, 1), (units, 1))
        sums = Sums(*(np.zeros(shape, np.int64) for shape in shapes))
        add_masks(of_image, thresholds, placement(over), patterns, np.ones(1, np.bool_), sums, (0, units))
        assert (sums.activation == sums.intersection.sum(axis=1)).all()
        of_images.append(sums.intersection[:, 1:].reshape(units, *over.shape))
    return np.stack(of_images)


def thresholds_of(maps, fraction):
    return round_down(np.asarray(np.quantile(maps, 1 - fraction, axis=(0, 2, 3)), np.float64))


@st.composite
def layouts(draw):
    cells = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    mode = draw(st.sampled_from(["half_pixel", "zero_padded", "anchored"]))
    anchor = (draw(st.floats(-4, 8)), draw(st.floats(0.5, 6))) if mode == "anchored" else None
    low = st.floats(0, 0.45)
    region = Region(draw(low), draw(low), 1 - draw(low), 1 - draw(low))
    return cells, grid(shape, cells, draw(st.sampled_from([WHOLE, region])), Upsampling(mode, anchor))


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.2, 0.9]), st.booleans())
def test_counted_masks_are_those_of_whole_upsampled_maps(layout, seed, fraction, coarse):
    cells, over = layout
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((3, 4, *cells))
    if coarse:  # many values equal the threshold
        maps = np.round(maps * 2) / 2
    thresholds, maps = thresholds_of(maps, fraction), maps.astype(np.float32)
    upsampled = dense(maps.reshape(-1, *cells), over).reshape(3, 4, *over.shape)
    np.testing.assert_array_equal(masks(maps, thresholds, over), upsampled > thresholds[:, None, None])


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(0, 2**32 - 1), st.floats(-1.5, 0.5), st.booleans())
def test_counted_masks_are_complete_for_negative_values_and_thresholds(layout, seed, threshold, below):
    cells, over = layout
    rng = np.random.default_rng(seed)
    maps = -np.abs(rng.standard_normal((3, 4, *cells))).astype(np.float32)
    if below:  # only the zeros around a zero-padded map exceed the threshold
        maps = np.minimum(maps, np.float32(threshold)) - np.float32(0.1)
    thresholds = round_down(np.full(4, threshold))
    upsampled = dense(maps.reshape(-1, *cells), over).reshape(3, 4, *over.shape)
    np.testing.assert_array_equal(masks(maps, thresholds, over), upsampled > thresholds[:, None, None])


def test_the_zeros_around_a_map_exceed_a_negative_threshold():
    maps, over = np.full((1, 1, 2, 2), -1, np.float32), grid((8, 8), (2, 2), WHOLE, ZERO)
    counted = masks(maps, np.array([-0.9], np.float32), over)[0, 0]
    assert counted[0].all()
    assert counted[:, -1].all()
    assert not counted[2:6, 2:6].any()


@given(st.floats(-1e6, 1e6), st.integers(-3, 3))
def test_a_float32_exceeds_the_rounded_threshold_exactly_if_it_exceeds_the_threshold(threshold, steps):
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.inf if steps > 0 else -np.inf))
    rounded = round_down(np.array([threshold]))[0]
    assert (value > rounded) == (float(value) > threshold)


@pytest.mark.parametrize(
    ("mode", "anchor"),
    [
        ("bicubic", None),
        ("anchored", None),
        ("half_pixel", (8, 8)),
        ("anchored", (8, 0)),
        ("anchored", [1]),
        ("anchored", 8),
    ],
)
def test_an_invalid_upsampling_is_refused_and_the_setting_named(mode, anchor):
    with pytest.raises(InputError, match=r"upsampling\.(mode|anchor)"):
        Upsampling(mode, anchor)


def test_an_anchor_from_a_configuration_file_is_the_same_setting_as_a_tuple():
    assert Upsampling("anchored", [8, 16]) == Upsampling("anchored", (8.0, 16.0))
