"""The MILAN of tinyworld: how it was trained and how good it is."""
