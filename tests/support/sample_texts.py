"""Texts of different lengths, one of them twice and one longer than the limit of small models."""

TEXTS = [
    "dogs in various settings",
    "a",
    "a bird that sings the whole day " * 8,
    "tench, Tinca tinca",
    "a",
]
