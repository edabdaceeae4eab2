"""The harness: targets, layers, activations, records, runs and the command line."""

if __name__ != "dissectbench.harness":
    raise ImportError("this folder is the package dissectbench.harness: import it by that name")

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("dissectbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
