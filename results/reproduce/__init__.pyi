from .published_files import PublishedFiles
from .published_table import PublishedTable, known_tables, load_table
from .report import listing_table, reproduction_table
from .reproduction import Reproduction, reproduce_table

__all__ = [
    "PublishedFiles",
    "PublishedTable",
    "Reproduction",
    "known_tables",
    "listing_table",
    "load_table",
    "reproduce_table",
    "reproduction_table",
]
