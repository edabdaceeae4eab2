"""Writes small models with random weights into folders, in the layout of each library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLIP_CONTEXT = 24
SMALL_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": CLIP_CONTEXT,
        "vocab_size": 49408,
        "width": 16,
        "heads": 1,
        "layers": 2,
    },
}


# Sizes of a transformer that is fast to build; every model needs a vocabulary size in addition. Attention
# heads are 16 wide: with narrower ones a result may depend on the row (docs/determinism.md).
SMALL_TRANSFORMER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    # Large weights: with the usual small ones, a random transformer is almost a linear map.
    "initializer_range": 0.4,
}


def write_transformer(folder: Path, model: Any, config: Any) -> Path:
    """Writes a model class of transformers with random weights and returns the folder."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config).save_pretrained(folder)
    return folder


def write_open_clip(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """Writes a model in open_clip's own layout and returns the folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**json.loads(json.dumps(config)))
        state = {k: v + 0.02 * torch.randn_like(v) for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
