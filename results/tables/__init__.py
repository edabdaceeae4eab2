"""Tables of a run, and their formats."""
