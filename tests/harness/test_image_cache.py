"""The cache of generated images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.cache import Cache
from dissectbench.harness.foundation.image_cache import cached_images, image_key
from dissectbench.harness.foundation.image_generators import Rendered, seed_for

PROMPTS = ["red boat", "tree", "a clock", "night", "red boat"]
SEEDS = [seed_for(prompt, index, 0) for index, prompt in enumerate(PROMPTS)]


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images]).astype(int)


class Counting:
    """Generates images of one colour; records the requests, and may fail."""

    name = "counting"

    def __init__(self, fails_after: int = 1000) -> None:
        self.requests: list[tuple[str, int]] = []
        self.fails_after = fails_after

    def fingerprint(self) -> str:
        return "counting"

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            if len(self.requests) == self.fails_after:
                raise RuntimeError("failed")
            self.requests.append((prompt, seed))
            yield Image.new("RGB", (40, 20), (seed % 256, len(prompt), 0))


def test_cached_images_are_not_generated_again(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    generated = pixels(cached_images(first, PROMPTS, SEEDS, Cache(tmp_path)))
    stored = pixels(cached_images(second, PROMPTS[::-1], SEEDS[::-1], Cache(tmp_path)))
    assert (generated == pixels(Counting().generate(PROMPTS, SEEDS))).all()
    assert (stored == generated[::-1]).all()
    assert len(first.requests) == 5
    assert second.requests == []


def test_images_are_stored_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        list(cached_images(Counting(fails_after=3), PROMPTS, SEEDS, Cache(tmp_path)))
    resumed = Counting()
    images = pixels(cached_images(resumed, PROMPTS, SEEDS, Cache(tmp_path)))
    assert resumed.requests == list(zip(PROMPTS, SEEDS, strict=True))[3:]
    assert (images == pixels(Counting().generate(PROMPTS, SEEDS))).all()


def test_equal_requests_are_generated_once(tmp_path: Path) -> None:
    counting = Counting()
    images = pixels(cached_images(counting, ["a", "b", "a"], [1, 2, 1], Cache(tmp_path)))
    assert counting.requests == [("a", 1), ("b", 2)]
    assert (images[0] == images[2]).all()


@pytest.mark.parametrize("format", ["png", "webp"])
@pytest.mark.parametrize("kept_bytes", [0, 40])
def test_a_damaged_file_is_generated_again(tmp_path: Path, format: Any, kept_bytes: int) -> None:
    cache = Cache(tmp_path)
    images = pixels(cached_images(Counting(), PROMPTS, SEEDS, cache, format=format))
    path = cache.path("images", image_key("counting", PROMPTS[2], SEEDS[2], format), f".{format}")
    path.write_bytes(path.read_bytes()[:kept_bytes])
    again = Counting()
    assert (pixels(cached_images(again, PROMPTS, SEEDS, cache, format=format)) == images).all()
    assert again.requests == [(PROMPTS[2], SEEDS[2])]


def test_a_lossy_image_is_the_same_in_the_first_and_later_runs(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"format": "webp", "size": (24, 24)}
    first = pixels(cached_images(Rendered(), PROMPTS, SEEDS, Cache(tmp_path), **settings))
    second = pixels(cached_images(Rendered(), PROMPTS, SEEDS, Cache(tmp_path), **settings))
    assert first.shape == (5, 24, 24, 3)
    assert (first == second).all()


def test_size_and_format_are_part_of_the_key(tmp_path: Path) -> None:
    cache, counting = Cache(tmp_path), Counting()
    for settings in ({}, {"size": (8, 8)}, {"format": "webp"}):
        list(cached_images(counting, ["a"], [1], cache, **settings))  # pyright: ignore
    assert len(counting.requests) == 3


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jpeg"):
        list(cached_images(Counting(), ["a"], [1], Cache(tmp_path), format="jpeg"))  # pyright: ignore
