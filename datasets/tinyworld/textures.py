"""The textures: two-colour patterns that repeat over the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pattern = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
"""Maps coordinates in units of one repeat to whether the second colour is there."""


@dataclass(frozen=True)
class Texture:
    """A texture on a surface.

    Attributes:
        word: its word, a key of `PATTERNS`.
        period: size of one repeat, canvas pixels.
        angle: rotation, radians.
        phase: shift in x and y, in repeats.
    """

    word: str
    period: float
    angle: float
    phase: tuple[float, float]

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Returns where the second colour is, for canvas coordinates that broadcast."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = (x * cos + y * sin) / self.period + self.phase[0]
        v = (y * cos - x * sin) / self.period + self.phase[1]
        return PATTERNS[self.word](u, v)


def random_texture(word: str, rng: np.random.Generator) -> Texture:
    """Returns a texture with a random scale, angle and phase."""
    # Scales hang down: they are rotated only a little.
    period = rng.uniform(14, 22) if word != "scaly" else rng.uniform(16, 24)
    angle = rng.uniform(0, np.pi) if word != "scaly" else rng.uniform(-0.3, 0.3)
    return Texture(word, float(period), float(angle), (float(rng.random()), float(rng.random())))


def _striped(u: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.bool_]:
    return u % 1 < 0.5


def _checkered(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (u % 1 < 0.5) ^ (v % 1 < 0.5)


def _dotted(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    shifted = u + 0.5 * (np.floor(v) % 2)
    return (shifted % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.3**2


def _wavy(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (u + 0.3 * np.sin(2 * np.pi * v / 1.6)) % 1 < 0.5


def _zigzag(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (u + 1.2 * np.abs(v / 1.4 % 1 - 0.5)) % 1 < 0.45


def _scaly(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of round scales, each with a rim that overlaps the next row."""
    row = np.floor(2 * v)
    across = (u + 0.5 * (row % 2)) % 1 - 0.5
    radius = np.hypot(across, v - row / 2)
    return (radius > 0.36) & (radius < 0.52)


PATTERNS: dict[str, Pattern] = {
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
    "wavy": _wavy,
    "zigzag": _zigzag,
    "scaly": _scaly,
}
