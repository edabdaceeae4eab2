"""Tinyworld: a generated probing set, with trained networks that are part of the package."""

from .tinyworld import TinyWorld, cache_folder, concepts, probing_set, references, render

__all__ = ["TinyWorld", "cache_folder", "concepts", "probing_set", "references", "render"]
