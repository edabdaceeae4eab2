"""The methods that describe units in words."""

if __name__ != "dissectbench.methods":
    raise ImportError("this folder is the package dissectbench.methods: import it by that name")

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
