"""Text metrics, and the scoring of descriptions with them."""

if __name__ != "dissectbench.metrics":
    raise ImportError("this folder is the package dissectbench.metrics: import it by that name")

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
