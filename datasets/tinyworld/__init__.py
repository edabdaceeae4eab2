"""The embedded world: a generated probing set with trained networks that travel with the package."""

from .world import TinyWorld, concepts, home, probing_set, references, render

__all__ = ["TinyWorld", "concepts", "home", "probing_set", "references", "render"]
