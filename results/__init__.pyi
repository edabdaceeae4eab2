from .exporters import write_descriptions, write_original_csv
from .importers import DescriptionFile, DescriptionRow, read_descriptions_csv
from .statistics import PairedTest, Summary, holm, paired_permutation, summary
from .tables import Table, examples_table, overview_table, print_table, score_tables, write_tables

__all__ = [
    "DescriptionFile",
    "DescriptionRow",
    "PairedTest",
    "Summary",
    "Table",
    "examples_table",
    "holm",
    "overview_table",
    "paired_permutation",
    "print_table",
    "read_descriptions_csv",
    "score_tables",
    "summary",
    "write_descriptions",
    "write_original_csv",
    "write_tables",
]
