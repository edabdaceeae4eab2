from .clip_dissect import CLIPDissect

__all__ = ["CLIPDissect"]
