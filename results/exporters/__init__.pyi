from .descriptions import OriginalLayout, write_descriptions, write_original_csv

__all__ = ["OriginalLayout", "write_descriptions", "write_original_csv"]
