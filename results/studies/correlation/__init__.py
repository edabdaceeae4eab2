"""Correlation of activations and human answers: sampling of images, estimators, simulation, tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
