"""Training of a MILAN on annotated exemplars: data, features, losses, the training loop."""
