"""Activations: one forward pass over a probing set, and the store that holds what it computed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
