"""MILAN (Hernandez et al., ICLR 2022): captions of a unit's exemplars, ranked by mutual information."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
