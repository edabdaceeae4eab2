from .examples import examples_table
from .latex import to_latex
from .layer_scores import LayerScores
from .overview import overview_table
from .render import print_table, to_csv, to_markdown, write_tables
from .scores import score_tables
from .table import Column, Coverage, Row, Table

__all__ = [
    "Column",
    "Coverage",
    "LayerScores",
    "Row",
    "Table",
    "examples_table",
    "overview_table",
    "print_table",
    "score_tables",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_tables",
]
