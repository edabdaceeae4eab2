"""Statistics and tables of scores; importers and exporters of description files."""

if __name__ != "dissectbench.results":
    raise ImportError("this folder is the package dissectbench.results: import it by that name")

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
