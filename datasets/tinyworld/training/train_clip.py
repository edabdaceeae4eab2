"""Trains the image-text model: `python -m dissectbench.datasets.tinyworld.training.train_clip`.

Writes a folder that open_clip reads as `local-dir:`, with the tokenizer and the model card.

Training takes two steps, so that it needs only minutes of CPU time. First the image tower learns the main
object and every visible word, with linear classifiers that are then discarded. Then its convolutions are
frozen, as in "LiT: Zero-Shot Transfer with Locked-image text Tuning" (Zhai et al., CVPR 2022), and its
pooling and the text tower learn with CLIP's symmetric contrastive loss, with one change: many texts are
true of many images here, and it is known which. So the target of each softmax is spread over all true
pairs, and no true pair is ever pushed apart.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from ....harness.files import write_json
from ..canvas import SIZE
from ..networks import MEAN, STD, WEIGHTS
from ..tinyworld import other_words
from ..tokenizer import END_ID, PAD_ID, VOCABULARY, train_tokenizer
from ..words import WORDS
from .clip_quality import Quality, measure
from .contrast import CLASS_COLUMNS, OTHERS, Texts, contrastive_loss
from .images import HELD_OUT_SEED, TRAINING_SEED, ImageSet, image_set
from .loops import SHIFT, Schedule, augment, fit, normalise, to_batch
from .options import parse_options
from .saving import save_weights, write_card

FOLDER = WEIGHTS / "clip"
CONTEXT = 24
BATCH, PEAK_RATE, WEIGHT_DECAY = 64, 2e-3, 0.02
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


def create(seed: int) -> Any:
    """Returns the untrained model that the folder describes."""
    import open_clip

    with torch.random.fork_rng():  # torch's initialisers use the global generator only
        torch.manual_seed(seed)
        model: Any = open_clip.create_model(f"local-dir:{FOLDER}", load_weights=False)
    for name, parameter in model.visual.named_parameters():
        if name.endswith("bn3.weight"):
            # CLIP initialises its residual branches to zero; this training is too short for that.
            nn.init.ones_(parameter)
    return model.to(memory_format=torch.channels_last)


def train_images(visual: nn.Module, training: ImageSet, texts: Texts, epochs: int, seed: int) -> None:
    """Trains the image tower to classify the main object and to detect the visible words."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(CONFIG["model_cfg"]["embed_dim"], len(WORDS))
    nn.init.normal_(head.weight, std=0.05, generator=generator)
    nn.init.constant_(head.bias, -2)  # most words are not true of an image
    classes, visible = torch.from_numpy(training.classes), torch.from_numpy(texts.words > 0).float()

    def losses_of(chosen: torch.Tensor, _: int) -> dict[str, torch.Tensor]:
        logits = head(visual(normalise(augment(training.pixels[chosen.numpy()], generator))))
        main = functional.cross_entropy(logits[:, CLASS_COLUMNS], classes[chosen])
        words = functional.binary_cross_entropy_with_logits(logits, visible[chosen])
        # Weighted by two: the mean over all words is small, because most are not visible.
        return {"main object": main, "words": 2 * words}

    optimiser = torch.optim.AdamW([*visual.parameters(), *head.parameters()], weight_decay=WEIGHT_DECAY)
    schedule = Schedule(epochs, BATCH, PEAK_RATE, name="images,")
    list(fit(optimiser, schedule, len(classes), generator, losses_of))


@torch.inference_mode()
def convolved(visual: Any, training: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the input of the pooling for each image and its mirror image, float16 [n, 512, 3, 3]."""
    pool, visual.attnpool = visual.attnpool, nn.Identity()
    plain, mirrored = [], []
    for start in range(0, len(training.pixels), 100):
        batch = normalise(to_batch(training.pixels[start : start + 100]))
        # In float16 both views of 10,000 images need 180 MB.
        plain.append(visual(batch).half())
        mirrored.append(visual(batch.flip(3)).half())
    visual.attnpool = pool
    return torch.cat(plain), torch.cat(mirrored)


def align(model: Any, training: ImageSet, texts: Texts, epochs: int, seed: int) -> None:
    """Trains the text tower and the pooling of the image tower with the contrastive loss."""
    import open_clip

    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    # The convolutions are frozen: their outputs are computed once and not in every epoch.
    views = convolved(model.visual.eval(), training)
    generator = torch.Generator().manual_seed(seed)
    model.visual.requires_grad_(False)
    model.visual.attnpool.requires_grad_(True)

    def losses_of(chosen: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        # CLIP limits the temperature after each step, which is the same as before the next one.
        model.logit_scale.data.clamp_(max=np.log(100))
        phrases, truth = texts.batch(chosen.tolist())
        # Mirrored images in every other step take the place of the augmentation.
        image = functional.normalize(model.visual.attnpool(views[step % 2][chosen].float()), dim=-1)
        text = model.encode_text(tokenize(phrases), normalize=True)
        return {"loss": contrastive_loss(model.logit_scale.exp() * image @ text.T, truth)}

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, weight_decay=WEIGHT_DECAY)
    schedule = Schedule(epochs, 2 * BATCH, PEAK_RATE / 2, name="texts,")
    list(fit(optimiser, schedule, len(training.pixels), generator, losses_of))
    model.logit_scale.data.clamp_(max=np.log(100))


def main() -> None:
    """Trains and saves, then measures the saved model and writes the model card."""
    options = parse_options(__doc__, image_epochs=8, text_epochs=14)
    start = time.perf_counter()
    training = image_set(TRAINING_SEED, options.training_images)
    texts = Texts(training, options.seed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "open_clip_config.json", CONFIG)
    phrases = [phrase.text for phrase in texts.phrases(range(options.training_images))]
    train_tokenizer([*phrases, *WORDS, *other_words()], FOLDER, CONTEXT)
    model = create(options.seed)
    train_images(model.visual, training, texts, options.image_epochs, options.seed)
    align(model, training, texts, options.text_epochs, options.seed)
    minutes = (time.perf_counter() - start) / 60
    save_weights(model.state_dict(), FOLDER / "open_clip_model.safetensors")
    quality = measure(FOLDER, image_set(HELD_OUT_SEED, options.held_out_images))
    Console().print(quality)
    write_card(FOLDER, "tinyworld-clip", card(options, quality, minutes))


def card(options: argparse.Namespace, quality: Quality, minutes: float) -> dict[str, str]:
    """Returns the sections of the model card."""
    rows = "\n".join(
        f"| {category} | {quality.precision[category]:.1%} | {quality.auc[category]:.3f} |"
        for category in quality.precision
    )
    return {
        "Model": """
open_clip's CLIP class with a small ResNet and a small text transformer, trained on tinyworld images and
true sentences, phrases and single words about them.
""",
        "Quality": f"""
On {options.held_out_images} images of seed {HELD_OUT_SEED}, none of them used for training:

- zero-shot accuracy with the class names as texts: **{quality.class_accuracy:.1%}**
- recall of the image from its caption: @1 **{quality.recall[1]:.1%}**, @5 **{quality.recall[5]:.1%}**
- share of images for which the nearest of the vocabulary and {len(other_words())} other words is true:
  **{quality.best_word_true:.1%}**

Single words: the share of true images among the ten nearest, and the area under the ROC curve, averaged
over the words of a category.

| category | precision@10 | AUC |
|---|---|---|
{rows}
""",
        "Training": f"""
{options.training_images} images of seed {TRAINING_SEED}, seed {options.seed}, AdamW (peak rate
{PEAK_RATE}, weight decay {WEIGHT_DECAY}). First, the image tower learned the main object and the visible
words: {options.image_epochs} epochs in batches of {BATCH}, mirrored at random and shifted by up to
{SHIFT} pixels. Then, with frozen convolutions, its pooling and the text tower learned with the
contrastive loss at half the rate: {options.text_epochs} epochs in batches of {2 * BATCH} images with one
phrase each, all words of the vocabulary and {OTHERS} others. {minutes:.0f} minutes on
{torch.get_num_threads()} CPU thread(s). To train it again:

`python -m dissectbench.datasets.tinyworld.training.train_clip`
""",
        "Storage": "Kernels and matrices are stored as float16 and computed in float32.",
    }


if __name__ == "__main__":
    main()
