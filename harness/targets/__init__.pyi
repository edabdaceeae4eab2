from .factory import from_factory
from .huggingface import huggingface_model
from .layers import Taps, list_layers
from .output_layouts import LayerInfo, LayerSpec
from .preprocess import Preprocess
from .target import Target
from .zoo import timm_model, torchvision_model

__all__ = [
    "LayerInfo",
    "LayerSpec",
    "Preprocess",
    "Taps",
    "Target",
    "from_factory",
    "huggingface_model",
    "list_layers",
    "timm_model",
    "torchvision_model",
]
