"""Bilinear up-sampling of feature maps to label planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError, one_of
from ..harness.probe import Region

if TYPE_CHECKING:
    import torch

Mode = Literal["half_pixel", "zero_padded", "anchored"]


@dataclass(frozen=True)
class Upsampling:
    """Positions of a feature map's cells in the label planes, and the values outside of the map.

    `half_pixel`: the cells tile the region; outside of the outermost centres the border value is
    repeated (bilinear interpolation with align_corners=False). The default.
    `zero_padded`: the same centres, but outside of the outermost ones the value decreases to 0, as in
    the PNAS 2020 code. A map of one cell is not attenuated, because it covers the whole image.
    `anchored`: cell i is centred on mask pixel `first + i * step`, on both axes, counted from the
    region's border: receptive-field centres of unpadded networks. Outside the border value is repeated.

    Attributes:
        mode: "half_pixel", "zero_padded" or "anchored".
        anchor: for "anchored", (first centre, step) in mask pixels.

    Raises:
        InputError: if the mode is unknown, or the anchor is missing, superfluous or not valid.
    """

    mode: Mode = "half_pixel"
    anchor: Sequence[float] | None = None

    def __post_init__(self) -> None:
        one_of("upsampling.mode", self.mode, ("half_pixel", "zero_padded", "anchored"))
        if (self.mode == "anchored") != (self.anchor is not None):
            raise InputError(
                f"upsampling.mode={self.mode} with upsampling.anchor={self.anchor}",
                "mode=anchored needs anchor=[first centre,step]; the other modes have none",
            )
        if self.anchor is None:
            return
        try:
            first, step = map(float, self.anchor)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"upsampling.anchor={self.anchor} is not a pair of numbers",
                "use [first centre,step] in mask pixels",
            ) from error
        if step <= 0:
            raise InputError(f"upsampling.anchor: the step between centres must be positive, not {step}")
        # A configuration gives a list; `grid` caches by this object, which must be hashable.
        object.__setattr__(self, "anchor", (first, step))


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a grid: positions of the mask pixels inside the region, relative to the cells.

    Cells are counted in the map padded by one cell on each side; band b holds the pixels between
    padded cells b and b + 1, so there are cells + 1 bands.

    Attributes:
        window: the mask pixels whose centres are inside the region.
        lower: int64 [pixels] band of each pixel inside.
        weight: float32 [pixels] weight of the upper of its two cells.
    """

    window: slice
    lower: NDArray[np.int64]
    weight: NDArray[np.float32]


def axis(pixels: int, cells: int, low: float, high: float, upsampling: Upsampling) -> Axis:
    """Places `cells` over the part [low, high) of `pixels` mask pixels (fractions of their length)."""
    index = np.arange(pixels)
    inside = np.flatnonzero(((index + 0.5) / pixels >= low) & ((index + 0.5) / pixels < high))
    if upsampling.anchor is None:
        position = (inside + 0.5 - low * pixels) * cells / ((high - low) * pixels) - 0.5
    else:
        first, step = upsampling.anchor
        position = (inside - low * pixels - first) / step
    position = np.clip(position + 1, 0, cells + 1)  # + 1: the padding cell before the first one
    lower = np.minimum(np.floor(position).astype(np.int64), cells)
    weight = (position - lower).astype(np.float32)
    start = int(inside[0]) if len(inside) else 0
    return Axis(slice(start, start + len(inside)), lower, weight)


@dataclass(frozen=True, eq=False)
class Grid:
    """Feature maps placed over the part of the label planes that the target saw.

    Attributes:
        map_shape: (h, w) of the maps.
        rows: the vertical axis.
        columns: the horizontal axis.
        zero_padded: whether values decrease to 0 outside of the outermost cells.
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


# Most images of a probing set have the same shape and region, so their grid is computed once.
@lru_cache(maxsize=256)
def grid(
    shape: tuple[int, int],
    map_shape: tuple[int, int],
    region: Region,
    upsampling: Upsampling,
) -> Grid:
    """Places maps of `map_shape` over label planes of `shape`, of which the target saw `region`."""
    rows = axis(shape[0], map_shape[0], region.top, region.bottom, upsampling)
    columns = axis(shape[1], map_shape[1], region.left, region.right, upsampling)
    zero_padded = upsampling.mode == "zero_padded" and map_shape != (1, 1)
    return Grid(map_shape, rows, columns, zero_padded)


def upsample(maps: torch.Tensor, over: Grid) -> torch.Tensor:
    """Up-samples maps [n, h, w] to the grid's window, [n, H, W], on the device they are on.

    Multiplication and addition are separate operations, because a fused one rounds differently: the
    values are the same on every device, and those of the compiled loops of Network Dissection.
    """
    import torch

    mode = "constant" if over.zero_padded else "replicate"
    padded = torch.nn.functional.pad(maps[:, None], (1, 1, 1, 1), mode=mode)[:, 0]
    return _interpolate(_interpolate(padded, over.rows, 1), over.columns, 2)


def _interpolate(values: torch.Tensor, along: Axis, dim: int) -> torch.Tensor:
    import torch

    lower = torch.from_numpy(along.lower).to(values.device)
    weight = torch.from_numpy(along.weight).to(values.device)
    start, end = values.index_select(dim, lower), values.index_select(dim, lower + 1)
    return start + (end - start) * (weight if dim == 2 else weight[:, None])
