"""The cache of captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from random_images import block_images

from dissectbench.harness.cache import Cache
from dissectbench.harness.foundation.caption_cache import cached_captions, image_digest


class Sizes:
    """Captions an image with its size; records the batches, and may fail."""

    name, batch_size = "sizes", 2

    def __init__(self, fails_after: int = 1000) -> None:
        self.batches: list[int] = []
        self.fails_after = fails_after

    def fingerprint(self) -> str:
        return "sizes"

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        if len(self.batches) >= self.fails_after:
            raise RuntimeError("killed")
        self.batches.append(len(images))
        return [f"{image.width} by {image.height}" for image in images]


def test_cached_captions_are_not_computed_again(tmp_path: Path) -> None:
    images = block_images(5)
    first, second = Sizes(), Sizes()
    captions = cached_captions(first, images, Cache(tmp_path))
    assert captions == Sizes().caption(images)
    assert first.batches == [2, 2, 1]
    assert cached_captions(second, images[::-1], Cache(tmp_path)) == captions[::-1]
    assert second.batches == []


def test_a_batch_is_stored_as_soon_as_it_is_done(tmp_path: Path) -> None:
    images = block_images(6)
    with pytest.raises(RuntimeError, match="killed"):
        cached_captions(Sizes(fails_after=2), images, Cache(tmp_path))
    resumed = Sizes()
    assert cached_captions(resumed, images, Cache(tmp_path)) == Sizes().caption(images)
    assert resumed.batches == [2]


def test_equal_images_are_captioned_once(tmp_path: Path) -> None:
    first, second = block_images(2)
    sizes = Sizes()
    captions = cached_captions(sizes, [first, second.copy(), first.copy(), second], Cache(tmp_path))
    assert sizes.batches == [2]
    assert captions == [*captions[:2], *captions[:2]]


def test_captions_of_another_captioner_are_not_used(tmp_path: Path) -> None:
    images = block_images(2)
    cached_captions(Sizes(), images, Cache(tmp_path))
    other = Sizes()
    other.fingerprint = lambda: "another"
    cached_captions(other, images, Cache(tmp_path))
    assert other.batches == [2]


def test_a_damaged_entry_is_captioned_again(tmp_path: Path) -> None:
    images = block_images(2)
    cached_captions(Sizes(), images, Cache(tmp_path))
    for entry in (tmp_path / "captions").glob("*.json"):
        entry.write_text('{"value": ')
    again = Sizes()
    assert cached_captions(again, images, Cache(tmp_path)) == Sizes().caption(images)
    assert again.batches == [2]


def test_an_empty_caption_is_computed_again(tmp_path: Path) -> None:
    class Silent(Sizes):
        def caption(self, images: Sequence[Image.Image]) -> list[str]:
            super().caption(images)
            return ["" for _ in images]

    assert cached_captions(Silent(), block_images(1), Cache(tmp_path)) == [""]
    assert cached_captions(Sizes(), block_images(1), Cache(tmp_path)) != [""]


def test_images_with_equal_bytes_and_different_shapes_have_different_digests() -> None:
    pixels = np.arange(48, dtype=np.uint8)
    wide, high = (Image.fromarray(pixels.reshape(*shape, 3)) for shape in ((2, 8), (8, 2)))
    assert image_digest(wide) != image_digest(high)
