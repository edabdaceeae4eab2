"""Training of a MILAN on annotated exemplars."""
