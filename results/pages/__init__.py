"""HTML pages that need no server and no network: templates, styles, and a strict security policy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
