"""Numeric precisions of model weights, and the names of their dtypes in torch."""

from __future__ import annotations

from typing import Literal

from ..devices import resolve

Precision = Literal["fp32", "fp16", "bf16"]
AutoPrecision = Literal["auto", "fp32", "fp16", "bf16"]
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
AUTO = ("auto", *DTYPES)


def dtype_name(precision: str, device: str) -> str:
    """Returns the name of torch's dtype for a precision; "auto" is fp16 on a GPU and fp32 on a CPU."""
    if precision != "auto":
        return DTYPES[precision]
    return "float16" if resolve(device).type == "cuda" else "float32"
