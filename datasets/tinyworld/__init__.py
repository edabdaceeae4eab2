"""The embedded world: a generated probing set with trained networks that travel with the package."""

from .tinyworld import TinyWorld, cache_folder, concepts, probing_set, references, render

__all__ = ["TinyWorld", "cache_folder", "concepts", "probing_set", "references", "render"]
