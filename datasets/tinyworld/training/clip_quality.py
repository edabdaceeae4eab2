"""How well an image-text model knows the embedded world."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..captions import caption
from ..phrases import facts
from ..tinyworld import other_words
from ..words import CATEGORIES, OBJECTS, WORDS
from .images import ImageSet


@dataclass(frozen=True)
class Quality:
    """What a model card says.

    Attributes:
        class_accuracy: share of pictures whose nearest class name is that of their main object.
        recall: share of captions whose picture is among the k nearest of all pictures, by k.
        best_word_true: share of pictures for which the nearest of all words is true.
        precision: by category, mean over its words of the share of true pictures among the ten nearest.
        auc: by category, mean over its words of the area under the ROC curve.
    """

    class_accuracy: float
    recall: dict[int, float]
    best_word_true: float
    precision: dict[str, float]
    auc: dict[str, float]


def measure(folder: Path, shown: ImageSet) -> Quality:
    """Measures the model that open_clip loads from a folder."""
    words = [*WORDS, *other_words()]
    images, word_texts, captions = _embed(folder, shown, words, [caption(spec) for spec in shown.specs])
    scores = images @ word_texts.T
    true = np.array([[w in f for w in words] for f in map(facts, shown.specs, shown.areas)])
    classes = [words.index(name) for name in OBJECTS]
    rank = (images @ captions.T > np.sum(images * captions, axis=1)).sum(axis=0)
    column = {w: i for i, w in enumerate(words)}
    seen = {
        c: [column[w] for w in ws if 10 <= true[:, column[w]].sum() < len(true)]
        for c, ws in CATEGORIES.items()
    }
    return Quality(
        class_accuracy=float((scores[:, classes].argmax(1) == shown.classes).mean()),
        recall={k: float((rank < k).mean()) for k in (1, 5)},
        best_word_true=float(true[np.arange(len(true)), scores.argmax(1)].mean()),
        precision={
            c: float(np.mean([_precision(scores[:, w], true[:, w]) for w in ws]))
            for c, ws in seen.items()
        },
        auc={c: float(np.mean([_auc(scores[:, w], true[:, w]) for w in ws])) for c, ws in seen.items()},
    )


def _precision(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    return float(true[np.argsort(-scores, kind="stable")[:10]].mean())


def _auc(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    positive, ranks = true.sum(), rankdata(scores)
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * (~true).sum()))


def _embed(folder: Path, shown: ImageSet, *texts: list[str]) -> list[NDArray[np.float32]]:
    import open_clip
    import torch
    from PIL import Image

    loaded: Any = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model, _, preprocess = loaded
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    pictures = (preprocess(Image.fromarray(pixels)) for pixels in shown.pixels)
    embedded = []
    with torch.inference_mode():
        while group := list(islice(pictures, 100)):
            embedded.append(model.encode_image(torch.stack(group), normalize=True))
        words = [model.encode_text(tokenize(group), normalize=True) for group in texts]
        return [part.numpy() for part in (torch.cat(embedded), *words)]
