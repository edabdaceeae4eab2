"""Bilinear up-sampling of feature maps to label planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.probe import Region

if TYPE_CHECKING:
    import torch

Mode = Literal["half_pixel", "zero_padded", "anchored"]


@dataclass(frozen=True)
class Upsampling:
    """Where the cells of a feature map lie in the label planes, and what lies beyond the outermost.

    `half_pixel`: the cells tile the region; beyond the outermost centres the border value goes on
    (bilinear interpolation with align_corners=False). The default.
    `zero_padded`: the same centres, but beyond the outermost ones the value falls off towards 0, as
    in the PNAS 2020 code. A map of one cell is never attenuated: it stands for the whole image.
    `anchored`: cell i is centred on mask pixel `first + i * step`, on both axes, counted from the
    region's border: receptive-field centres of unpadded networks. Beyond them the border goes on.

    Raises:
        ValueError: if the mode is unknown, or an anchor is missing or out of place.
    """

    mode: Mode = "half_pixel"
    anchor: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("half_pixel", "zero_padded", "anchored"):
            raise ValueError(f"unknown up-sampling {self.mode!r}")
        if (self.mode == "anchored") != (self.anchor is not None):
            raise ValueError(
                "an anchor (first centre, step) belongs to the mode 'anchored', and only there"
            )
        if self.anchor is not None and self.anchor[1] <= 0:
            raise ValueError(f"the step between centres must be positive, not {self.anchor[1]}")


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of a grid: how the mask pixels inside the region lie between the cells.

    Cells are counted in the map padded by one cell on each side; band b holds the pixels between
    padded cells b and b + 1, so there are cells + 1 bands.

    Attributes:
        window: the mask pixels whose centres lie inside the region.
        lower: int64 [pixels] band of each pixel inside.
        weight: float32 [pixels] weight of the upper of its two cells.
    """

    window: slice
    lower: NDArray[np.int64]
    weight: NDArray[np.float32]


def axis(pixels: int, cells: int, low: float, high: float, upsampling: Upsampling) -> Axis:
    """Lays `cells` over the part [low, high) of `pixels` mask pixels (fractions of their length)."""
    index = np.arange(pixels)
    inside = np.flatnonzero(((index + 0.5) / pixels >= low) & ((index + 0.5) / pixels < high))
    if upsampling.anchor is None:
        position = (inside + 0.5 - low * pixels) * cells / ((high - low) * pixels) - 0.5
    else:
        first, step = upsampling.anchor
        position = (inside - low * pixels - first) / step
    position = np.clip(position + 1, 0, cells + 1)
    lower = np.minimum(np.floor(position).astype(np.int64), cells)
    weight = (position - lower).astype(np.float32)
    start = int(inside[0]) if len(inside) else 0
    return Axis(slice(start, start + len(inside)), lower, weight)


@dataclass(frozen=True, eq=False)
class Grid:
    """Feature maps laid over the part of the label planes that the target saw.

    Attributes:
        map_shape: (h, w) of the maps.
        rows: the vertical axis.
        columns: the horizontal axis.
        zero_padded: whether values fall off towards 0 beyond the outermost cells.
    """

    map_shape: tuple[int, int]
    rows: Axis
    columns: Axis
    zero_padded: bool

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the label planes inside the region."""
        return self.rows.window, self.columns.window

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the window."""
        return len(self.rows.lower), len(self.columns.lower)


@lru_cache(maxsize=256)
def grid(
    shape: tuple[int, int],
    map_shape: tuple[int, int],
    region: Region,
    upsampling: Upsampling,
) -> Grid:
    """Lays maps of `map_shape` over label planes of `shape`, of which the target saw `region`."""
    rows = axis(shape[0], map_shape[0], region.top, region.bottom, upsampling)
    columns = axis(shape[1], map_shape[1], region.left, region.right, upsampling)
    zero_padded = upsampling.mode == "zero_padded" and map_shape != (1, 1)
    return Grid(map_shape, rows, columns, zero_padded)


def upsample(maps: torch.Tensor, over: Grid) -> torch.Tensor:
    """Up-samples maps [n, h, w] to the grid's window, [n, H, W], on the device they are on.

    Multiplication and addition stay separate operations, so that every device rounds alike.
    """
    import torch

    mode = "constant" if over.zero_padded else "replicate"
    padded = torch.nn.functional.pad(maps[:, None], (1, 1, 1, 1), mode=mode)[:, 0]
    return _lerp(_lerp(padded, over.rows, 1), over.columns, 2)


def _lerp(values: torch.Tensor, along: Axis, dim: int) -> torch.Tensor:
    import torch

    lower = torch.from_numpy(along.lower).to(values.device)
    weight = torch.from_numpy(along.weight).to(values.device)
    start, end = values.index_select(dim, lower), values.index_select(dim, lower + 1)
    return start + (end - start) * (weight if dim == 2 else weight[:, None])
