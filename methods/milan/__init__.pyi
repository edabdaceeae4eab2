from .milan import MILAN

__all__ = ["MILAN"]
