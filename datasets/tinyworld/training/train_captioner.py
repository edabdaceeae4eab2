"""Trains the captioner: `python -m dissectbench.datasets.tinyworld.training.train_captioner`.

Writes a folder that transformers reads as BLIP: configuration, weights, preprocessing, tokenizer, and
the model card.

A vision transformer learns slowly from a few thousand sentences. During training an additional linear
layer predicts for every patch the words that it shows, which the renderer knows. The layer is discarded.
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
from .loops import Schedule, fit, normalise, to_batch
from .options import parse_options
from .saving import write_card

FOLDER = WEIGHTS / "captioner"
PATCH, WIDTH, HEADS, VISION_LAYERS, TEXT_LAYERS, CONTEXT = 12, 128, 4, 4, 2, 48
GRID = SIZE // PATCH
BATCH, PEAK_RATE, WEIGHT_DECAY = 32, 1.5e-3, 0.05
PAD, UNKNOWN, START, END, MASK, BEGIN = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"
SPECIAL = (PAD, UNKNOWN, START, END, MASK, BEGIN)


def vocabulary(texts: list[str]) -> list[str]:
    """Returns the tokens: special tokens, the words of the texts, and letters for all other words."""
    words = sorted({word for text in texts for word in text.replace(",", " , ").split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return list(dict.fromkeys([*SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters)]))


def write_tokenizer(tokens: list[str], folder: Path) -> None:
    """Writes a WordPiece tokenizer, as BERT's, to a folder in Hugging Face's format."""
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
    """Writes the settings of the preprocessing, in transformers' format."""
    steps = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True}
    names = {"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"}
    write_json(
        folder / "preprocessor_config.json",
        {
            **steps,
            **names,
            "size": {"height": SIZE, "width": SIZE},
            # Bicubic, by Pillow's number.
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
    # BLIP ends a caption at the separator and ignores eos when it generates.
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
        # transformers' default for BLIP's vision model is 1e-10, nearly zero.
        "initializer_range": 0.02,
    }
    with torch.random.fork_rng():  # torch's initialisers use the global generator only
        torch.manual_seed(seed)
        return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))


def patch_word_shares(seed: int, count: int) -> NDArray[np.uint8]:
    """Returns uint8 [count, GRID, GRID, words]: the share of each patch that shows each word, times 255.

    The images are rendered in parallel once, and the result is cached.
    """
    path = cache_folder() / "training" / f"patches{GRID}-format{FORMAT}-seed{seed}-{count}.npy"
    if not path.is_file():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            shares = list(pool.map(partial(_patch_word_shares, seed), range(count), chunksize=50))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(shares))
    return np.load(path, mmap_mode="r")


def _patch_word_shares(seed: int, index: int) -> NDArray[np.uint8]:
    image = render_image(seed, index)
    planes = np.concatenate([np.stack([image.colour, image.object, image.texture]), image.parts])
    side = LABELS // GRID
    patches = planes.reshape(len(planes), GRID, side, GRID, side).transpose(1, 3, 0, 2, 4)
    counts = (patches.reshape(GRID, GRID, -1, 1) == np.arange(1, len(WORDS) + 1)).sum(axis=2)
    # A word can be in several part planes of a pixel.
    return np.minimum(counts * 255 // side**2, 255).astype(np.uint8)


def batch_of(
    training: ImageSet, shares: NDArray[np.uint8], chosen: NDArray[np.int64], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images, mirrored at random, and the words of their patches.

    Returns:
        float32 [n, 3, SIZE, SIZE], normalised; float32 [n, GRID * GRID, words], shares of each patch.
    """
    pixels = to_batch(training.pixels[chosen])
    words = torch.from_numpy(shares[chosen]).float() / 255
    # Not shifted, unlike other training images: patches would no longer match their words.
    flips = (torch.rand(len(chosen), generator=generator) < 0.5)[:, None, None, None]
    pixels = torch.where(flips, pixels.flip(3), pixels)
    words = torch.where(flips, words.flip(2), words)
    return normalise(pixels), words.flatten(1, 2)


class Learner(nn.Module):
    """The captioner with a linear layer that predicts the words of each patch.

    Args:
        model: the captioner.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.patch_head = model, nn.Linear(WIDTH, len(WORDS))
        nn.init.zeros_(self.patch_head.weight)
        nn.init.constant_(self.patch_head.bias, -4.0)  # most patches do not show a given word

    def forward(
        self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, words: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the loss of the captions and the loss of the patches."""
        labels = ids.masked_fill(mask == 0, -100)  # -100: padding has no loss
        out = self.model(pixel_values=pixels, input_ids=ids, attention_mask=mask, labels=labels)
        logits = self.patch_head(out.last_hidden_state[:, 1:])  # without the class token
        loss = functional.binary_cross_entropy_with_logits(logits, words)
        return out.loss, loss * len(WORDS) / 3  # a patch shows about three words


def train(
    model: nn.Module, training: ImageSet, shares: NDArray[np.uint8], epochs: int, seed: int
) -> None:
    """Trains with AdamW and saves after every epoch; reads the tokenizer from the folder."""
    from transformers import AutoTokenizer

    generator = torch.Generator().manual_seed(seed)
    captions: Any = AutoTokenizer.from_pretrained(FOLDER)(
        [caption(spec) for spec in training.specs], padding=True, return_tensors="pt"
    )
    captions["input_ids"][:, 0] = SPECIAL.index(BEGIN)  # BLIP's decoder starts with a token of its own
    learner = Learner(model).train()

    def losses_of(chosen: torch.Tensor, _: int) -> dict[str, torch.Tensor]:
        pixels, words = batch_of(training, shares, chosen.numpy(), generator)
        ids, mask = captions["input_ids"][chosen], captions["attention_mask"][chosen]
        return dict(zip(("captions", "patches"), learner(pixels, ids, mask, words), strict=True))

    optimiser = torch.optim.AdamW(learner.parameters(), weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    schedule = Schedule(epochs, BATCH, PEAK_RATE, max_norm=1.0)
    for _ in fit(optimiser, schedule, len(training.pixels), generator, losses_of):
        save(model)


def save(model: nn.Module) -> None:
    """Saves the captioner as float16, in transformers' format."""
    compact: Any = deepcopy(model).half()  # a copy: training continues in float32
    compact.save_pretrained(FOLDER)


def main() -> None:
    """Trains and saves, then measures the saved model and writes the model card."""
    options = parse_options(__doc__, epochs=7)
    start = time.perf_counter()
    training = image_set(TRAINING_SEED, options.training_images)
    shares = patch_word_shares(TRAINING_SEED, options.training_images)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary([caption(spec) for spec in training.specs] + list(WORDS))
    write_tokenizer(tokens, FOLDER)
    write_preprocessing(FOLDER)
    train(build(tokens, options.seed), training, shares, options.epochs, options.seed)
    minutes = (time.perf_counter() - start) / 60
    quality = measure(FOLDER, image_set(HELD_OUT_SEED, options.held_out_images))
    Console().print(quality)
    write_card(FOLDER, "tinyworld-captioner", card(options, quality, minutes))


def card(options: argparse.Namespace, quality: Quality, minutes: float) -> dict[str, str]:
    """Returns the sections of the model card."""
    rows = "\n".join(f"| {kind} | {share:.1%} |" for kind, share in quality.by_object.items())
    return {
        "Model": f"""
A small BlipForConditionalGeneration of transformers: {VISION_LAYERS} vision layers and {TEXT_LAYERS} text
layers, {WIDTH} channels wide, patches of {PATCH} x {PATCH} pixels. It describes a tinyworld image in the
form of tinyworld's captions: "a striped red boat with a white sail on the sea, beside a green tree". The
tokenizer is WordPiece, with the words of the captions and single letters.
""",
        "Quality": f"""
On {options.held_out_images} images of seed {HELD_OUT_SEED}, none of them used for training, by greedy
decoding:

- the main object is named correctly: **{quality.object:.1%}**
- its colour: **{quality.colour:.1%}**
- its texture, or that it has none: **{quality.texture:.1%}**
- the scene: **{quality.scene:.1%}**
- the smaller objects, with their colours: **{quality.smaller_objects:.1%}**
- the whole caption, word for word: **{quality.exact:.1%}**
- BERTScore (F1, last layer of all-MiniLM-L6-v2, no idf, no rescaling) with the true captions:
  **{quality.bertscore:.3f}**; with the captions of other images: {quality.chance:.3f}

| main object | named correctly |
|---|---|
{rows}
""",
        "Training": f"""
{options.training_images} images of seed {TRAINING_SEED}, mirrored at random, {options.epochs} epochs,
seed {options.seed}, AdamW (peak rate {PEAK_RATE}, weight decay {WEIGHT_DECAY}), batches of {BATCH}. An
additional linear layer, discarded, learned which words each patch shows. {minutes:.0f} minutes on
{torch.get_num_threads()} CPU thread(s); more epochs would still improve it. To train it again:

`python -m dissectbench.datasets.tinyworld.training.train_captioner`
""",
        "Storage": "All weights are stored as float16 and computed in float32.",
    }


if __name__ == "__main__":
    main()
