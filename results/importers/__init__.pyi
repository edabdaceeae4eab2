from .description_file import DescriptionFile, DescriptionRow
from .descriptions_csv import read_descriptions_csv
from .importing import ImportedDescriptions, import_descriptions
from .layout_files import Layout, read_layout

__all__ = [
    "DescriptionFile",
    "DescriptionRow",
    "ImportedDescriptions",
    "Layout",
    "import_descriptions",
    "read_descriptions_csv",
    "read_layout",
]
