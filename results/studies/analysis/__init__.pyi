from .agreement import agreement
from .rating_files import WideLayout, read_ratings
from .ratings import Ratings, study_ratings

__all__ = ["Ratings", "WideLayout", "agreement", "read_ratings", "study_ratings"]
