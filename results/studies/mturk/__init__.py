"""Mechanical Turk's file formats, as Turkle runs them: batches, templates, result files, reviews."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
