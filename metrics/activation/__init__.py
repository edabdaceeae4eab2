"""Metrics of descriptions against activations: they need no reference, so every layer can be scored."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
