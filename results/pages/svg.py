"""Draws charts and regions as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def outline(mask: NDArray[np.bool_]) -> str:
    """Returns the path around the pixels of a mask; filled by the even-odd rule, it covers exactly them.

    Args:
        mask: bool [H, W]; a pixel is one unit of the drawing.
    """
    padded = np.pad(mask, 1)
    filled = padded[1:-1, 1:-1]
    # The four sides of a pixel are directed clockwise; a side is an edge if its neighbour is empty.
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for neighbour, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(filled & ~neighbour).tolist():
            edges.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    path = []
    while edges:
        path.append(_loop(edges))
    return "".join(path)


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> str:
    """Removes one closed loop from the edges and returns its path."""
    start = at = next(iter(edges))
    steps: list[tuple[int, int]] = []
    while True:
        ends = edges[at]
        end = ends.pop()
        if not ends:
            del edges[at]
        step = (end[0] - at[0], end[1] - at[1])
        # A step in the direction of the last one makes that one longer.
        if steps and (step[0] == 0) == (steps[-1][0] == 0):
            steps[-1] = (steps[-1][0] + step[0], steps[-1][1] + step[1])
        else:
            steps.append(step)
        at = end
        if at == start:
            break
    # `z` draws the last step.
    moves = "".join(f"h{x}" if y == 0 else f"v{y}" for x, y in steps[:-1])
    return f"M{start[0]} {start[1]}{moves}z"


def bars(heights: Sequence[float], *, width: int, height: int) -> str:
    """Returns the path of a bar chart that fills `width` x `height`; the highest bar is full."""
    top = max(heights, default=0) or 1
    step = width / max(len(heights), 1)
    return "".join(
        f"M{number * step:.1f} {height}v{-height * value / top:.1f}h{step * 0.9:.1f}V{height}z"
        for number, value in enumerate(heights)
        if value > 0
    )
