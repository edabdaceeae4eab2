"""Scripts that train the networks of tinyworld, and their helpers."""
