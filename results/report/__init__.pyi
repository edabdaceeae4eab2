from .bands import choose_images
from .images import Histogram, RunImages, ShownImage, UnitImages
from .report import write_report
from .section import standalone_unit
from .units import unit_reports

__all__ = [
    "Histogram",
    "RunImages",
    "ShownImage",
    "UnitImages",
    "choose_images",
    "standalone_unit",
    "unit_reports",
    "write_report",
]
