"""Attention crops: boxes compared with reference boxes, and their placement on images."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dissectbench.harness.probe import Region
from dissectbench.methods.dnd.crops import Box, BoxLimits, accepted, attention_boxes, crops

WHOLE = Region()
ALL_BOXES = BoxLimits(1000, 1.0, 1.1)

small_boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.integers(0, 9), st.integers(0, 9), st.integers(1, 8), st.integers(1, 8),
)  # fmt: skip


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden"
    cases = json.loads((folder / "attention_crops.json").read_text("utf-8"))["cases"]
    with np.load(folder / "attention_crops.npz") as maps:
        return [(case, maps[f"heatmap_{case['id']:02d}"]) for case in cases]


def as_lists(boxes):
    return [list(box) for box in boxes]


def blob(rows, columns, shape=(14, 14)):
    """A map that is active in a rectangle of cells."""
    activation = np.zeros(shape, np.float32)
    activation[rows, columns] = 1
    return activation


def ramps(width, height):
    """An image whose red channel is the column and whose green channel is the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width) % 256
    pixels[..., 1] = (np.arange(height) % 256)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("index", range(45))
def test_boxes_equal_the_reference_boxes_to_the_pixel(golden, index):
    case, activation = golden[index]
    variant = "paper" if case["group"] == "min_max" else "official"
    assert as_lists(attention_boxes(activation, variant=variant)) == case["boxes"]


def test_all_reference_cases_are_tested(golden):
    assert len(golden) == 45


@pytest.mark.parametrize("index", range(20, 40))
def test_the_official_variant_wraps_around_like_the_reference(golden, index):
    case, activation = golden[index]
    boxes = as_lists(attention_boxes(activation, variant="official"))
    assert boxes == case["boxes_unnormalised_overflow"]


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("value", [-3.0, 0.0, 0.4, 7.5])
@pytest.mark.parametrize("shape", [(1, 1), (7, 7)])
def test_a_constant_map_gives_no_box(variant, value, shape):
    assert attention_boxes(np.full(shape, value, np.float32), variant=variant) == []


@given(st.integers(0, 10_000), st.integers(-8, 8))
@settings(max_examples=20, deadline=None)
def test_boxes_do_not_depend_on_the_scale_of_the_map(seed, power):
    activation = np.random.default_rng(seed).standard_normal((7, 7)).astype(np.float32)
    assert attention_boxes(activation * np.float32(2**power)) == attention_boxes(activation)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_maps_near_the_largest_float32_do_not_overflow(variant):
    activation = blob(slice(3, 8), slice(4, 9))
    largest = np.finfo(np.float32).max
    scaled = np.where(activation > 0, largest, -largest)
    # A product with 255 modulo 256 is 0 for every number of this size.
    expected = attention_boxes(activation) if variant == "paper" else []
    assert attention_boxes(scaled, variant=variant) == expected


def outer_regions(active):
    """Bounding boxes of the regions (8 neighbours) not inside another one, by flood fill."""
    height, width = active.shape
    padded = np.pad(active, 1)

    def flood(start, value, steps):
        seen, queue = {start}, [start]
        while queue:
            row, column = queue.pop()
            for down, right in steps:
                cell = (row + down, column + right)
                inside = 0 <= cell[0] < height + 2 and 0 <= cell[1] < width + 2
                if inside and cell not in seen and padded[cell] == value:
                    seen.add(cell)
                    queue.append(cell)
        return seen

    straight = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    around = [*straight, (1, 1), (1, -1), (-1, 1), (-1, -1)]
    outside = flood((0, 0), False, straight)
    boxes = set()
    for start in zip(*np.nonzero(padded), strict=True):
        region = flood(start, True, around)
        neighbours = {(r + d, c + e) for r, c in region for d, e in straight}
        if neighbours & outside:
            rows, columns = zip(*region, strict=True)
            boxes.add(Box(min(columns) - 1, min(rows) - 1, max(columns), max(rows)))
    return boxes


@given(arrays(np.bool_, st.tuples(st.integers(2, 9), st.integers(2, 9))))
@settings(max_examples=60, deadline=None)
def test_every_outer_region_gives_its_bounding_box(active):
    assume(active.any() and not active.all())
    boxes = attention_boxes(active.astype(np.float32), active.shape[::-1], limits=ALL_BOXES)
    assert set(boxes) == outer_regions(active)


def test_a_region_in_a_hole_of_another_gives_no_box():
    activation = blob(slice(2, 11), slice(2, 11))
    activation[3:10, 3:10] = 0
    activation[6, 6] = 1
    assert attention_boxes(activation, (14, 14), limits=ALL_BOXES) == [Box(2, 2, 11, 11)]


def test_cells_that_touch_at_a_corner_are_one_region():
    activation = blob(slice(3, 5), slice(3, 5))
    activation[5, 5] = 1
    assert attention_boxes(activation, (14, 14)) == [Box(3, 3, 6, 6)]


def pixels_of(box):
    mask = np.zeros((20, 20), np.bool_)
    mask[box.top : box.bottom, box.left : box.right] = True
    return mask


@given(small_boxes, small_boxes)
def test_the_iou_is_that_of_the_pixels(first, second):
    a, b = pixels_of(first), pixels_of(second)
    assert first.iou(second) == second.iou(first) == (a & b).sum() / (a | b).sum()
    assert first.area == a.sum()


@given(st.lists(small_boxes, max_size=12, unique=True), st.integers(0, 5), st.randoms())
def test_boxes_are_accepted_by_the_rules_in_any_order(boxes, limit, random):
    size = (9, 9)
    frame = Box(0, 0, *size)
    kept = accepted(boxes, size, BoxLimits(limit))
    expected = []
    for box in sorted(boxes, key=lambda box: (-box.area, box.top, box.left, box.right)):
        masks = [(pixels_of(box), pixels_of(other)) for other in expected]
        free = all((a & b).sum() * 2 <= (a | b).sum() for a, b in masks)
        share = (pixels_of(box) & pixels_of(frame)).sum() / (pixels_of(box) | pixels_of(frame)).sum()
        if free and share < 0.8 and len(expected) < limit:
            expected.append(box)
    assert kept == expected
    random.shuffle(boxes)
    assert accepted(boxes, size, BoxLimits(limit)) == kept


def test_boxes_of_equal_area_are_ordered_from_top_then_from_left():
    boxes = [Box(5, 5, 7, 7), Box(5, 0, 7, 2), Box(0, 5, 2, 7), Box(10, 0, 11, 4)]
    assert accepted(boxes, (100, 100)) == [Box(5, 0, 7, 2), Box(10, 0, 11, 4), Box(0, 5, 2, 7), boxes[0]]


def test_limits_can_be_set():
    boxes = [Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(0, 0, 10, 9)]
    assert accepted(boxes, (10, 10)) == [Box(0, 0, 10, 5)]
    assert accepted(boxes, (10, 10), BoxLimits(frame_iou=0.95, iou=0.6)) == [boxes[2], boxes[1]]
    assert accepted(boxes, (10, 10), BoxLimits(2, 0.95, 1.1)) == [boxes[0], boxes[2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(bad):
    activation = blob(2, 2)
    activation[0, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        attention_boxes(activation)


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (0, 4)])
def test_a_map_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"\[h, w\]"):
        attention_boxes(np.zeros(shape, np.float32))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'offical'"):
        attention_boxes(blob(2, 2), variant="offical")  # pyright: ignore[reportArgumentType]


def test_a_crop_contains_the_pixels_of_its_box():
    image = ramps(200, 100)
    (crop,) = crops(image, blob(slice(2, 5), slice(8, 12)), WHOLE)
    left, top, right, bottom = crop.box
    pixels = np.asarray(crop.image)
    assert crop.image.size == (round((right - left) * 200), round((bottom - top) * 100))
    assert pixels[0, :, 0].tolist() == list(range(round(left * 200), round(right * 200)))
    assert pixels[:, 0, 1].tolist() == list(range(round(top * 100), round(bottom * 100)))
    assert crop.box == pytest.approx((8 / 14, 2 / 14, 12 / 14, 5 / 14), abs=0.04)


@pytest.mark.parametrize("side", [90, 375, 2000])
def test_a_crop_has_the_resolution_of_its_image(side):
    (crop,) = crops(ramps(side, side), blob(slice(2, 9), slice(2, 9)), WHOLE)
    assert crop.image.size == pytest.approx((side / 2, side / 2), rel=0.1)


def test_on_an_image_of_the_grids_size_crops_are_the_boxes():
    activation = np.random.default_rng(3).uniform(0, 4, (7, 7)).astype(np.float32)
    boxes = [
        tuple(375 * fraction for fraction in crop.box)
        for crop in crops(ramps(375, 375), activation, WHOLE)
    ]
    assert len(boxes) > 1
    assert [tuple(round(number, 9) for number in box) for box in boxes] == attention_boxes(activation)


def test_crops_are_placed_in_the_region_shown_to_the_target():
    """Only the central square of an image twice as wide as high was shown."""
    region = Region(0.25, 0.0, 0.75, 1.0)
    (crop,) = crops(ramps(800, 400), blob(slice(0, 4), slice(0, 4)), region)
    assert crop.box[:2] == (0.25, 0.0)
    assert crop.box[2:] == pytest.approx((0.25 + 0.5 * 4 / 14, 4 / 14), abs=0.03)


@given(
    st.integers(0, 500), st.floats(-0.3, 0.4), st.floats(0.1, 0.9), st.integers(1, 60), st.integers(1, 60)
)
@settings(max_examples=40, deadline=None)
def test_crops_are_inside_the_image_not_empty_and_distinct(seed, low, extent, width, height):
    activation = np.random.default_rng(seed).standard_normal((7, 7)).astype(np.float32)
    parts = crops(ramps(width, height), activation, Region(low, low / 2, low + extent, low / 2 + extent))
    assert len(parts) <= 4
    assert len({crop.box for crop in parts}) == len(parts)
    for crop in parts:
        left, top, right, bottom = crop.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def test_crops_in_the_padding_are_left_out_or_clipped():
    padded = Region(-0.5, 0.0, 1.0, 1.0)  # the left third of the map is padding
    image = ramps(100, 100)
    assert crops(image, blob(slice(5, 8), slice(0, 3)), padded) == []
    (crop,) = crops(image, blob(slice(5, 8), slice(3, 9)), padded)
    assert crop.box[0] == 0


def test_the_official_variant_uses_the_whole_resized_image():
    activation = blob(slice(2, 5), slice(8, 12)) * np.float32(0.8)
    parts = crops(ramps(200, 100), activation, Region(0.25, 0.25, 0.75, 0.75), variant="official")
    (box,) = attention_boxes(activation, variant="official")
    assert [crop.image.size for crop in parts] == [(375, 375)]
    assert parts[0].box == tuple(edge / 375 for edge in box)
