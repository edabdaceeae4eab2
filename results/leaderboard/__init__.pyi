from .boards import Leaderboard, build
from .bundle import Bundle, bundle_of_run, write_bundle
from .reading import read_bundle
from .validate import Recomputed, validate

__all__ = [
    "Bundle",
    "Leaderboard",
    "Recomputed",
    "build",
    "bundle_of_run",
    "read_bundle",
    "validate",
    "write_bundle",
]
