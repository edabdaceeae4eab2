from .milan import MILAN
from .settings import DecodingOverrides, ExemplarOverrides

__all__ = ["MILAN", "DecodingOverrides", "ExemplarOverrides"]
