"""Figures of finished runs for papers: units with their descriptions, and charts of scores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
