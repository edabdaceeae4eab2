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
    """Returns the key that a generated picture has in the cache; `Cache.path` makes its path of it.

    Args:
        model: fingerprint of the generator.
        prompt: what it shows.
        seed: what it was drawn from.
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
    """Yields one picture per (prompt, seed), in order; only what the cache does not hold is drawn.

    What is missing is drawn in the generator's batches, and kept picture by picture. A file that cannot
    be read back is drawn anew. A picture is always yielded as it is stored, so that a run and its
    repetition see the same.

    Args:
        generator: who draws what is not in the cache.
        prompts: what the pictures show.
        seeds: what they are drawn from.
        cache: where pictures live, shared by all runs.
        format: "png" keeps every pixel; "webp" is lossy and takes a fraction of the space.
        size: (width, height) to store pictures in; None: as they are drawn.

    Raises:
        ValueError: if the format is unknown, or prompts and seeds are not of one length.
    """
    if format not in ("png", "webp"):
        raise ValueError(f"format {format!r} is unknown: use png or webp")
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
    model = generator.fingerprint()
    keys = [image_key(model, p, s, format, size) for p, s in zip(prompts, seeds, strict=True)]
    paths = [cache.path(_KIND, key, f".{format}") for key in keys]
    missing = {path: i for i, path in reversed(list(enumerate(paths))) if not path.is_file()}
    todo = sorted(missing.values())
    drawn = iter(generator.generate([prompts[i] for i in todo], [seeds[i] for i in todo]))
    for i, path in enumerate(paths):
        if missing.get(path) == i:
            _write(next(drawn), path, size)
        picture = _read(path)
        if picture is None:
            [again] = generator.generate([prompts[i]], [seeds[i]])
            _write(again, path, size)
            picture = _read(path)
        assert picture is not None, f"{path} cannot be read back"
        yield picture


def _write(picture: Image, path: Path, size: tuple[int, int] | None) -> None:
    from PIL.Image import Resampling

    picture = picture.convert("RGB")
    if size is not None and picture.size != size:
        picture = picture.resize(size, Resampling.BICUBIC)
    with atomic_path(path) as temporary:
        picture.save(temporary, quality=_WEBP_QUALITY)


def _read(path: Path) -> Image | None:
    """Returns a stored picture, or None if there is none that can be decoded whole."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
