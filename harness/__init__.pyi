from .config import Settings, compose
from .dissect import dissect
from .dissection import DissectedUnit, Dissection
from .errors import InputError
from .finished_run import FinishedRun
from .parts import assemble
from .probe import ProbedLayer
from .progress import Progress
from .records import Candidate, Description, UnitId
from .run import execute, run

__version__: str

__all__ = [
    "Candidate",
    "Description",
    "DissectedUnit",
    "Dissection",
    "FinishedRun",
    "InputError",
    "ProbedLayer",
    "Progress",
    "Settings",
    "UnitId",
    "assemble",
    "compose",
    "dissect",
    "execute",
    "run",
]
