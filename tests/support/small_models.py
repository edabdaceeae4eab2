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
        "heads": 2,
        "layers": 2,
    },
}


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
