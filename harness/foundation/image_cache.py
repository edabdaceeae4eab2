"""Caches images of any generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..cache import Cache
from ..files import atomic_path
from .protocols import ImageGenerator

if TYPE_CHECKING:
    from PIL.Image import Image

Format = Literal["png", "webp"]
_KIND = "images"
_WEBP_QUALITY = 90


def image_key(
    model: str, prompt: str, seed: int, format: Format = "png", size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Returns the cache key of a generated image; `Cache.path` turns it into a path.

    Args:
        model: fingerprint of the generator.
        prompt: the prompt.
        seed: the seed.
        format: see `cached_images`.
        size: see `cached_images`.
    """
    stored = {"format": format, "size": None if size is None else list(size)}
    return {"model": model, "prompt": prompt, "seed": seed, **stored}


def cached_images(
    generator: ImageGenerator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    cache: Cache,
    *,
    format: Format = "png",
    size: tuple[int, int] | None = None,
) -> Iterator[Image]:
    """Yields one image per (prompt, seed), in order; only images that are not in the cache are generated.

    Missing images are generated in the generator's batches and stored one by one. A file that cannot be
    read is generated again. Every image is yielded as it is stored, so that a run and its repetition get
    the same pixels in a lossy format, too.

    Args:
        generator: generates the images that are not in the cache.
        prompts: one per image.
        seeds: one per image.
        cache: the cache, shared by all runs.
        format: "png" is lossless; "webp" is lossy and needs a fraction of the space.
        size: (width, height) of the stored images; None: as generated.

    Raises:
        ValueError: if the format is unknown, or prompts and seeds differ in length.
    """
    if format not in ("png", "webp"):
        raise ValueError(f"format {format!r} is unknown: use png or webp")
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
    model = generator.fingerprint()
    keys = [image_key(model, p, s, format, size) for p, s in zip(prompts, seeds, strict=True)]
    paths = [cache.path(_KIND, key, f".{format}") for key in keys]
    # Reversed, so that the first of several equal requests is the one that is generated.
    missing = {path: i for i, path in reversed(list(enumerate(paths))) if not path.is_file()}
    todo = sorted(missing.values())
    generated = iter(generator.generate([prompts[i] for i in todo], [seeds[i] for i in todo]))
    for i, path in enumerate(paths):
        if missing.get(path) == i:
            _write(next(generated), path, size)
        image = _read(path)
        # Damaged files are found only here: decoding every file in advance would read all of them twice.
        if image is None:
            [again] = generator.generate([prompts[i]], [seeds[i]])
            _write(again, path, size)
            image = _read(path)
        assert image is not None, f"{path} cannot be read back"
        yield image


def stored_images(
    generator: ImageGenerator,
    prompt: str,
    seeds: Sequence[int],
    cache: Cache,
    *,
    format: Format = "png",
    size: tuple[int, int] | None = None,
) -> list[Path | None]:
    """Returns the file of each image of a prompt, as `cached_images` stores them; None if it is missing.

    Nothing is generated.
    """
    model = generator.fingerprint()
    keys = (image_key(model, prompt, seed, format, size) for seed in seeds)
    paths = (cache.path(_KIND, key, f".{format}") for key in keys)
    return [path if path.is_file() else None for path in paths]


def _write(image: Image, path: Path, size: tuple[int, int] | None) -> None:
    from PIL.Image import Resampling

    image = image.convert("RGB")
    if size is not None and image.size != size:
        image = image.resize(size, Resampling.BICUBIC)
    with atomic_path(path) as temporary:
        # PNG ignores the quality.
        image.save(temporary, quality=_WEBP_QUALITY)


def _read(path: Path) -> Image | None:
    """Returns a stored image, or None if there is none or it cannot be decoded completely."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    # Pillow raises SyntaxError for damaged chunks of PNG files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
