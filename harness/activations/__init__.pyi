from .forward_pass import probe_layers
from .stored_layer import StoredLayer

__all__ = ["StoredLayer", "probe_layers"]
