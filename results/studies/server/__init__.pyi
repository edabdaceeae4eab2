from .codes import Verdict, verify_codes
from .exports import export_links, export_panel
from .panels import PANELS, Panel
from .results import raters_csv, results_csv
from .serve import admin_paths, listen, serve
from .settings import PageSettings

__all__ = [
    "PANELS",
    "PageSettings",
    "Panel",
    "Verdict",
    "admin_paths",
    "export_links",
    "export_panel",
    "listen",
    "raters_csv",
    "results_csv",
    "serve",
    "verify_codes",
]
