"""Network Dissection (Bau et al., CVPR 2017) under three definitions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
