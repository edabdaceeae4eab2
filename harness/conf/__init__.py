"""Hydra configuration groups; every component is a `_target_`."""
