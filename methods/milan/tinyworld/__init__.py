"""Training and evaluation of tinyworld's MILAN, `method=milan_tinyworld`."""
