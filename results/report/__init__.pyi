from .bands import choose_images
from .images import Histogram, RunImages, ShownImage, UnitImages
from .report import write_report

__all__ = ["Histogram", "RunImages", "ShownImage", "UnitImages", "choose_images", "write_report"]
