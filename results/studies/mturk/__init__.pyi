from .results import is_result_file, is_turkle, read_results
from .review import write_review

__all__ = ["is_result_file", "is_turkle", "read_results", "write_review"]
