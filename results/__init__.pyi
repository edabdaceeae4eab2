from .clusters import clustered_summary
from .exporters import write_descriptions, write_original_csv
from .importers import (
    DescriptionFile,
    DescriptionRow,
    ImportedDescriptions,
    Layout,
    import_descriptions,
    read_descriptions_csv,
    read_layout,
)
from .ranks import RankInterval, effect_size, rank_intervals, smallest_detectable_difference
from .statistics import PairedTest, Summary, exact_sign_flip_p, holm, paired_permutation, summary
from .tables import Table, examples_table, overview_table, print_table, score_tables, write_tables
from .unit_view import Exemplar, UnitView, find_units, unit_view

__all__ = [
    "DescriptionFile",
    "DescriptionRow",
    "Exemplar",
    "ImportedDescriptions",
    "Layout",
    "PairedTest",
    "RankInterval",
    "Summary",
    "Table",
    "UnitView",
    "clustered_summary",
    "effect_size",
    "exact_sign_flip_p",
    "examples_table",
    "find_units",
    "holm",
    "import_descriptions",
    "overview_table",
    "paired_permutation",
    "print_table",
    "rank_intervals",
    "read_descriptions_csv",
    "read_layout",
    "score_tables",
    "smallest_detectable_difference",
    "summary",
    "unit_view",
    "write_descriptions",
    "write_original_csv",
    "write_tables",
]
