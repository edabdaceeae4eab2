"""Models that describe images or compare texts: small protocols and their implementations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
