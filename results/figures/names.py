"""Names and colours of methods in figures."""

from __future__ import annotations

_NAMES = {
    "network_dissection": "Network Dissection",
    "clip_dissect": "CLIP-Dissect",
    "milan": "MILAN",
    "milan_tinyworld": "MILAN (tinyworld)",
    "describe_and_dissect": "DnD",
}

# Dark colours: names of methods are written in them, on white. Most are from the palette of Okabe and
# Ito, which people with a colour vision deficiency can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#000000", "#8C510A", "#6B6B00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
CONTROL_COLOR = "#888888"


def method_name(method: str) -> str:
    """Returns the name of a method as papers write it; of another method, without underscores."""
    return _NAMES.get(method, method.replace("_", " "))


def color(number: int) -> str:
    """Returns the colour of the method at a position; colours repeat, markers tell the rest apart."""
    return COLORS[number % len(COLORS)]


def marker(number: int) -> str:
    """Returns the marker of the method at a position; with the colour it is unique up to 70 methods."""
    return MARKERS[number % len(MARKERS)]
