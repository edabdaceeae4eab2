from .descriptions_csv import DescriptionFile, DescriptionRow, read_descriptions_csv

__all__ = ["DescriptionFile", "DescriptionRow", "read_descriptions_csv"]
