"""Measures the image-text model on tinyworld images."""

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

MIN_IMAGES = 10
"""Words true of fewer images are not measured: precision@10 could not reach 1."""


@dataclass(frozen=True)
class Quality:
    """The measurements of the model card.

    Attributes:
        class_accuracy: share of images whose nearest class name is that of their main object.
        recall: for each k, the share of captions whose image is among the k nearest of all images.
        best_word_true: share of images for which the nearest of all words is true.
        precision: by category, mean over its words of the share of true images among the ten nearest.
        auc: by category, mean over its words of the area under the ROC curve.
    """

    class_accuracy: float
    recall: dict[int, float]
    best_word_true: float
    precision: dict[str, float]
    auc: dict[str, float]


def measure(folder: Path, images: ImageSet) -> Quality:
    """Measures the model that open_clip loads from a folder."""
    words = [*WORDS, *other_words()]
    pixels, word_texts, captions = _embed(folder, images, words, [caption(spec) for spec in images.specs])
    scores = pixels @ word_texts.T
    true = np.array([[w in f for w in words] for f in map(facts, images.specs, images.areas)])
    classes = [words.index(name) for name in OBJECTS]
    # For each caption, how many images are nearer to it than its own.
    rank = (pixels @ captions.T > np.sum(pixels * captions, axis=1)).sum(axis=0)
    column = {word: i for i, word in enumerate(words)}
    measured = {
        category: [column[w] for w in members if MIN_IMAGES <= true[:, column[w]].sum() < len(true)]
        for category, members in CATEGORIES.items()
    }
    return Quality(
        class_accuracy=float((scores[:, classes].argmax(1) == images.classes).mean()),
        recall={k: float((rank < k).mean()) for k in (1, 5)},
        best_word_true=float(true[np.arange(len(true)), scores.argmax(1)].mean()),
        precision={
            category: float(np.mean([_precision(scores[:, w], true[:, w]) for w in columns]))
            for category, columns in measured.items()
        },
        auc={
            category: float(np.mean([_auc(scores[:, w], true[:, w]) for w in columns]))
            for category, columns in measured.items()
        },
    )


def _precision(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    return float(true[np.argsort(-scores, kind="stable")[:10]].mean())


def _auc(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    """Returns the area under the ROC curve, from the ranks of the true images (Mann-Whitney U)."""
    from scipy.stats import rankdata

    positive, ranks = true.sum(), rankdata(scores)
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * (~true).sum()))


def _embed(folder: Path, images: ImageSet, *texts: list[str]) -> list[NDArray[np.float32]]:
    """Returns the normalised embeddings of the images and of each list of texts."""
    import open_clip
    import torch
    from PIL import Image

    loaded: Any = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model, _, preprocess = loaded
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    inputs = (preprocess(Image.fromarray(pixels)) for pixels in images.pixels)
    embeddings = []
    with torch.inference_mode():
        while batch := list(islice(inputs, 100)):
            embeddings.append(model.encode_image(torch.stack(batch), normalize=True))
        text_embeddings = [model.encode_text(tokenize(group), normalize=True) for group in texts]
        return [part.numpy() for part in (torch.cat(embeddings), *text_embeddings)]
