"""The embedded world: a generated probing set with trained networks that travel with the package."""
