"""A probing set of images that are never opened, only their labels are used."""

from __future__ import annotations

from typing import NoReturn

from dissectbench.datasets.probing_set import Annotations, ProbingSet


class UnopenedImages(ProbingSet):
    """`size` images with annotations; opening one is an error."""

    name = "unopened"

    def __init__(self, size: int, annotations: Annotations | None = None) -> None:
        self.size, self.annotations = size, annotations

    def __len__(self) -> int:
        return self.size

    def image(self, index: int) -> NoReturn:
        raise AssertionError(f"image {index} was opened")

    def locate(self, index: int) -> str:
        return f"image {index}"

    def fingerprint(self) -> str:
        return "unopened"
