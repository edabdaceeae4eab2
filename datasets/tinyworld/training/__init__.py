"""Scripts that train the networks of tinyworld."""
