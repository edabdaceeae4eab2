from .forward_pass import probe_layers
from .settings import ActivationSettings
from .stored_layer import StoredLayer

__all__ = ["ActivationSettings", "StoredLayer", "probe_layers"]
