"""Trains the embedded image-text model: `python -m dissectbench.datasets.tinyworld.train_clip`.

Writes a folder that open_clip reads as `local-dir:`, with the tokenizer and the model card in it.

The loss is CLIP's symmetric contrast with one change: in a small world many texts are true of many
pictures, and what is true of which is known. So the target of each softmax is spread over everything
true, and no true pair is ever pushed apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from ...harness.files import write_json
from .canvas import SIZE
from .clip_quality import Quality, measure
from .networks import MEAN, STD, WEIGHTS
from .phrases import FRAMES, Phrase, facts, phrase
from .spec import pick
from .tokens import END_ID, PAD_ID, VOCABULARY, train_tokenizer
from .training import (
    HELD_OUT_SEED,
    TRAINING_SEED,
    Pictures,
    augment,
    batches,
    learning_rate,
    pictures,
    save_weights,
    write_card,
)
from .words import NUMBER, WORDS
from .world import other_words

FOLDER = WEIGHTS / "clip"
CONTEXT = 24
BATCH, TEXTS, PEAK_RATE, WEIGHT_DECAY = 64, 48, 2e-3, 0.05
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": VOCABULARY,
            "hf_tokenizer_name": "tinyworld",
            "width": 128,
            "heads": 4,
            "layers": 2,
            "pool_type": "eos",
            "pad_id": PAD_ID,
            "eos_id": END_ID,
        },
    },
    "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"},
}
_MEAN, _STD = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
console = Console()


class Texts:
    """What is said about the pictures of a batch, and how true it is of each of them."""

    def __init__(self, shown: Pictures, seed: int) -> None:
        self.shown, self.rng, self.others = shown, np.random.default_rng(seed), other_words()
        self.facts = [facts(s, a) for s, a in zip(shown.specs, shown.areas, strict=True)]

    def phrases(self, chosen: Sequence[int]) -> list[Phrase]:
        """Returns a new phrase about each picture."""
        return [phrase(self.shown.specs[i], self.facts[i], self.rng) for i in chosen]

    def batch(self, chosen: Sequence[int]) -> tuple[list[str], torch.Tensor]:
        """Returns texts (words, phrases, untrue words) and how true each is, float32 [pictures, texts].

        A word is as true as the root of the area that shows it, a phrase is true or not.
        """
        words = [WORDS[i] for i in self.rng.permutation(len(WORDS))[:TEXTS]]
        said = self.phrases(chosen)
        others = self._untrue_words()
        truth = np.zeros((len(chosen), len(words) + len(said) + len(others)), np.float32)
        for row, i in enumerate(chosen):
            area = self.shown.areas[i]
            truth[row, : len(words)] = [np.sqrt(area[NUMBER[w]]) * (w in self.facts[i]) for w in words]
            truth[row, len(words) : len(words) + len(said)] = [p.facts <= self.facts[i] for p in said]
        texts = (
            [self._framed(word) for word in words]
            + [p.text for p in said]
            + [self._framed(w) for w in others]
        )
        return texts, torch.from_numpy(truth)

    def _untrue_words(self) -> list[str]:
        """Returns words for things that no picture shows, a third of them made up from two halves."""
        words = [self.others[i] for i in self.rng.permutation(len(self.others))[:TEXTS]]
        ends = words[TEXTS // 3 :]
        for i in range(TEXTS // 3):
            made_up = words[i][: len(words[i]) // 2] + ends[i][len(ends[i]) // 2 :]
            words[i] = words[i] if made_up in NUMBER else made_up
        return words

    def _framed(self, word: str) -> str:
        return pick(FRAMES, self.rng).format(word) if self.rng.random() < 0.25 else word


def contrast(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the mean cross-entropy of rows of logits with their truth, rows without any left out."""
    total = truth.sum(1, keepdim=True)
    per_row = -(truth / total.clamp_min(1e-9) * functional.log_softmax(logits, dim=1)).sum(1)
    return per_row[total[:, 0] > 0].mean()


def train(shown: Pictures, texts: Texts, epochs: int, seed: int) -> nn.Module:
    """Returns the model, trained with AdamW; reads the tokenizer from the folder."""
    import open_clip

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():  # torch's initialisers know no other generator
        torch.manual_seed(seed)
        model: Any = open_clip.create_model(f"local-dir:{FOLDER}", load_weights=False)
    model = model.to(memory_format=torch.channels_last).train()
    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    steps, step = epochs * (len(shown.pixels) // BATCH), 0
    for epoch in range(epochs):
        losses = []
        for chosen in batches(len(shown.pixels), BATCH, generator):
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, PEAK_RATE)
            said, truth = texts.batch(chosen.tolist())
            pixels = (augment(shown.pixels[chosen.numpy()], generator) - _MEAN) / _STD
            image, text = (
                model.encode_image(pixels, normalize=True),
                model.encode_text(tokenize(said), normalize=True),
            )
            logits = model.logit_scale.exp() * image @ text.T
            loss = (contrast(logits, truth) + contrast(logits.T, truth.T)) / 2
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            model.logit_scale.data.clamp_(max=np.log(100))
            losses.append(loss.item())
            step += 1
        console.print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}")
    return model


def main() -> None:
    """Trains, saves, loads what was saved, measures that, and writes the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    shown = pictures(TRAINING_SEED, args.pictures)
    texts = Texts(shown, args.seed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "open_clip_config.json", CONFIG)
    said = [p.text for p in texts.phrases(range(args.pictures))]
    train_tokenizer([*said, *WORDS, *other_words()], FOLDER, CONTEXT)
    model = train(shown, texts, args.epochs, args.seed)
    minutes = (time.perf_counter() - start) / 60
    save_weights(model.state_dict(), FOLDER / "open_clip_model.safetensors")
    quality = measure(FOLDER, pictures(HELD_OUT_SEED, args.held_out))
    console.print(quality)
    write_card(FOLDER, "tinyworld-clip", _card(args, quality, minutes))


def _card(args: argparse.Namespace, quality: Quality, minutes: float) -> dict[str, str]:
    rows = "\n".join(
        f"| {category} | {quality.precision[category]:.1%} | {quality.auc[category]:.3f} |"
        for category in quality.precision
    )
    return {
        "What it is": """
open_clip's own CLIP class with a small ResNet and a small text transformer, trained on pictures of the
embedded world and on true sentences, phrases and single words about them.
""",
        "Measured": f"""
On {args.held_out} pictures of world {HELD_OUT_SEED}, none of them trained on:

- class by zero-shot (raw class names): **{quality.class_accuracy:.1%}**
- recall of the picture by its caption: @1 **{quality.recall[1]:.1%}**, @5 **{quality.recall[5]:.1%}**
- the nearest of the world's words and {len(other_words())} others is true of the picture:
  **{quality.best_word_true:.1%}**

Single words: the share of true pictures among the ten nearest, and the area under the ROC curve.

| category | precision@10 | AUC |
|---|---|---|
{rows}
""",
        "Training": f"""
{args.pictures} pictures of world {TRAINING_SEED}, {args.epochs} epochs, seed {args.seed}, AdamW
(peak rate {PEAK_RATE}, weight decay {WEIGHT_DECAY}); batches of {BATCH} pictures with a phrase each,
{TEXTS} words of the world and {TEXTS} others; {minutes:.0f} minutes on {torch.get_num_threads()} CPU
thread(s). Again with `python -m dissectbench.datasets.tinyworld.train_clip`.
""",
        "Storage": "Kernels and matrices as float16, computed in float32.",
    }


if __name__ == "__main__":
    main()
