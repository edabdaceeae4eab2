"""Trains the embedded captioner: `python -m dissectbench.datasets.tinyworld.training.train_captioner`.

Writes a folder that transformers reads as BLIP: configuration, weights, preprocessing, tokenizer, and
the model card.

A vision transformer learns slowly from some thousand sentences. So, while training, a linear layer also
reads from every patch which words of the world it shows; the renderer knows that. The layer is not kept.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn
from torch.nn import functional

from ....harness.files import atomic_open, atomic_path, write_json
from ..canvas import LABELS, SIZE
from ..captions import caption
from ..networks import MEAN, STD, WEIGHTS
from ..rendered_folder import FORMAT
from ..rendering import render_image
from ..tinyworld import cache_folder
from ..words import WORDS
from .captioner_quality import Quality, measure
from .images import HELD_OUT_SEED, TRAINING_SEED, ImageSet, image_set
from .loops import batches, learning_rate
from .saving import write_card

FOLDER = WEIGHTS / "captioner"
PATCH, WIDTH, HEADS, VISION_LAYERS, TEXT_LAYERS, CONTEXT = 12, 128, 4, 4, 2, 48
GRID = SIZE // PATCH
BATCH, PEAK_RATE, WEIGHT_DECAY = 32, 1.5e-3, 0.05
PAD, UNKNOWN, START, END, MASK, BEGIN = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"
SPECIAL = (PAD, UNKNOWN, START, END, MASK, BEGIN)
_MEAN, _STD = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
console = Console()


def vocabulary(texts: list[str]) -> list[str]:
    """Returns the tokens: special ones, the words of the texts, and letters for all other words."""
    words = sorted({word for text in texts for word in text.replace(",", " , ").split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return list(dict.fromkeys([*SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters)]))


def write_tokenizer(tokens: list[str], folder: Path) -> None:
    """Writes BERT's kind of tokenizer into a folder, in Hugging Face's format."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    numbers = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN))  # pyright: ignore
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)  # pyright: ignore
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore
    tokenizer.decoder = decoders.WordPiece(prefix="##")  # pyright: ignore
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=f"{START} $A {END}", special_tokens=[(t, numbers[t]) for t in (START, END)]
    )
    with atomic_path(folder / "tokenizer.json") as file:
        tokenizer.save(str(file))
    with atomic_open(folder / "vocab.txt") as file:
        file.writelines(f"{token}\n" for token in tokens)
    names = {"pad_token": PAD, "unk_token": UNKNOWN, "cls_token": START, "sep_token": END}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT}
    write_json(
        folder / "tokenizer_config.json",
        {**settings, **names, "mask_token": MASK, "additional_special_tokens": [BEGIN]},
    )


def write_preprocessing(folder: Path) -> None:
    """Writes how pictures are prepared, in transformers' format."""
    steps = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True}
    names = {"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"}
    write_json(
        folder / "preprocessor_config.json",
        {
            **steps,
            **names,
            "size": {"height": SIZE, "width": SIZE},
            "resample": 3,
            "rescale_factor": 1 / 255,
            "image_mean": MEAN,
            "image_std": STD,
        },
    )


def build(tokens: list[str], seed: int) -> Any:
    """Returns the model with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    size = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": HEADS}
    roles = {"pad": PAD, "bos": BEGIN, "eos": END, "sep": END}
    text: dict[str, Any] = {
        **size,
        **{f"{role}_token_id": SPECIAL.index(token) for role, token in roles.items()},
        "vocab_size": len(tokens),
        "num_hidden_layers": TEXT_LAYERS,
        "max_position_embeddings": CONTEXT,
    }
    vision: dict[str, Any] = {
        **size,
        "num_hidden_layers": VISION_LAYERS,
        "image_size": SIZE,
        "patch_size": PATCH,
        "initializer_range": 0.02,
    }
    with torch.random.fork_rng():  # torch's initialisers know no other generator
        torch.manual_seed(seed)
        return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))


def patch_words(seed: int, count: int) -> NDArray[np.uint8]:
    """Returns uint8 [count, GRID, GRID, words]: the share of each patch that shows each word, of 255.

    Rendered in parallel once, and kept in the cache.
    """
    path = cache_folder() / "training" / f"patches{GRID}-format{FORMAT}-seed{seed}-{count}.npy"
    if not path.is_file():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            shares = list(pool.map(partial(_patch_words, seed), range(count), chunksize=50))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(shares))
    return np.load(path, mmap_mode="r")


def _patch_words(seed: int, index: int) -> NDArray[np.uint8]:
    shown = render_image(seed, index)
    planes = np.concatenate([np.stack([shown.colour, shown.object, shown.texture]), shown.parts])
    side = LABELS // GRID
    patches = planes.reshape(len(planes), GRID, side, GRID, side).transpose(1, 3, 0, 2, 4)
    counts = (patches.reshape(GRID, GRID, -1, 1) == np.arange(1, len(WORDS) + 1)).sum(axis=2)
    return np.minimum(counts * 255 // side**2, 255).astype(np.uint8)


def batch_of(
    shown: ImageSet, shares: NDArray[np.uint8], chosen: NDArray[np.int64], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns pictures, mirrored by chance, and the words of their patches.

    Returns:
        float32 [n, 3, SIZE, SIZE], normalised; float32 [n, GRID * GRID, words], shares of each patch.
    """
    pixels = torch.from_numpy(shown.pixels[chosen]).permute(0, 3, 1, 2).float() / 255
    words = torch.from_numpy(shares[chosen]).float() / 255
    flips = (torch.rand(len(chosen), generator=generator) < 0.5)[:, None, None, None]
    pixels = torch.where(flips, pixels.flip(3), pixels)
    words = torch.where(flips, words.flip(2), words)
    return (pixels - _MEAN) / _STD, words.flatten(1, 2)


class Learner(nn.Module):
    """The captioner with the layer that reads patches.

    Args:
        model: the captioner.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.patch_head = model, nn.Linear(WIDTH, len(WORDS))
        nn.init.zeros_(self.patch_head.weight)
        nn.init.constant_(self.patch_head.bias, -4.0)

    def forward(
        self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, words: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the loss of the captions, and that of the patches."""
        labels = ids.masked_fill(mask == 0, -100)
        out = self.model(pixel_values=pixels, input_ids=ids, attention_mask=mask, labels=labels)
        seen = self.patch_head(out.last_hidden_state[:, 1:])
        loss = functional.binary_cross_entropy_with_logits(seen, words)
        return out.loss, loss * len(WORDS) / 3  # a patch shows some three words


def train(model: nn.Module, shown: ImageSet, shares: NDArray[np.uint8], epochs: int, seed: int) -> None:
    """Trains with AdamW, saves after every epoch; reads the tokenizer from the folder."""
    from transformers import AutoTokenizer

    generator = torch.Generator().manual_seed(seed)
    said: Any = AutoTokenizer.from_pretrained(FOLDER)(
        [caption(spec) for spec in shown.specs], padding=True, return_tensors="pt"
    )
    said["input_ids"][:, 0] = SPECIAL.index(BEGIN)
    learner = Learner(model).train()
    optimiser = torch.optim.AdamW(learner.parameters(), weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    steps, step = epochs * (len(shown.pixels) // BATCH), 0
    for epoch in range(epochs):
        losses = []
        for chosen in batches(len(shown.pixels), BATCH, generator):
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, PEAK_RATE)
            pixels, words = batch_of(shown, shares, chosen.numpy(), generator)
            texts, patches = learner(
                pixels, said["input_ids"][chosen], said["attention_mask"][chosen], words
            )
            optimiser.zero_grad()
            (texts + patches).backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            losses.append((texts.item(), patches.item()))
            step += 1
        text, patch = np.mean(losses, axis=0)
        console.print(f"epoch {epoch + 1}/{epochs}: captions {text:.3f}, patches {patch:.3f}")
        save(model)


def save(model: nn.Module) -> None:
    """Saves the captioner as float16, in transformers' format."""
    small: Any = deepcopy(model).half()
    small.save_pretrained(FOLDER)


def main() -> None:
    """Trains, saves, loads what was saved, measures that, and writes the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    shown = image_set(TRAINING_SEED, args.image_set)
    shares = patch_words(TRAINING_SEED, args.image_set)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary([caption(spec) for spec in shown.specs] + list(WORDS))
    write_tokenizer(tokens, FOLDER)
    write_preprocessing(FOLDER)
    train(build(tokens, args.seed), shown, shares, args.epochs, args.seed)
    minutes = (time.perf_counter() - start) / 60
    quality = measure(FOLDER, image_set(HELD_OUT_SEED, args.held_out))
    console.print(quality)
    write_card(FOLDER, "tinyworld-captioner", _card(args, quality, minutes))


def _card(args: argparse.Namespace, quality: Quality, minutes: float) -> dict[str, str]:
    rows = "\n".join(f"| {kind} | {share:.1%} |" for kind, share in quality.by_object.items())
    return {
        "What it is": f"""
transformers' own BlipForConditionalGeneration, small: {VISION_LAYERS} layers that see and {TEXT_LAYERS}
that write, {WIDTH} channels wide, patches of {PATCH} x {PATCH} pixels. It says of a picture of the
embedded world what the world's own captions say: "a striped red boat with a white sail on the sea,
beside a green tree". BERT's kind of tokenizer, with the world's words and single letters.
""",
        "Measured": f"""
On {args.held_out} pictures of world {HELD_OUT_SEED}, none of them trained on, always taking the likeliest
token:

- the main object is named: **{quality.object:.1%}**
- its colour: **{quality.colour:.1%}**
- its texture, or that it has none: **{quality.texture:.1%}**
- the scene: **{quality.scene:.1%}**
- the smaller objects beside it, with their colour: **{quality.smaller_objects:.1%}**
- the whole caption, word for word: **{quality.exact:.1%}**
- BERTScore (F1, last layer of all-MiniLM-L6-v2, no idf, no rescaling) with the true captions:
  **{quality.bertscore:.3f}**; with those of other pictures: {quality.chance:.3f}

| main object | named |
|---|---|
{rows}
""",
        "Training": f"""
{args.pictures} pictures of world {TRAINING_SEED}, mirrored by chance, {args.epochs} epochs, seed
{args.seed}, AdamW (peak rate {PEAK_RATE}, weight decay {WEIGHT_DECAY}), batches of {BATCH}. Besides the
captions, a linear layer that is not kept learned which words each patch shows. {minutes:.0f} minutes on
{torch.get_num_threads()} CPU thread(s). Again with
`python -m dissectbench.datasets.tinyworld.training.train_captioner`; more epochs would still help.
""",
        "Storage": "All weights as float16, computed in float32.",
    }


if __name__ == "__main__":
    main()
