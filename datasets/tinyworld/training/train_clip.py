"""Trains the embedded image-text model: `python -m dissectbench.datasets.tinyworld.training.train_clip`.

Writes a folder that open_clip reads as `local-dir:`, with the tokenizer and the model card in it.

Trained in two steps, as fits a few minutes of CPU time. First the image tower learns to tell the main
object and every visible word, under linear classifiers that are then thrown away. Then its convolutions
are locked, as in "LiT: Zero-Shot Transfer with Locked-image text Tuning" (Zhai et al., CVPR 2022), and
its pooling and the text tower learn by CLIP's symmetric contrast, with one change: in a small world many
texts are true of many pictures, and what is true of which is known. So the target of each softmax is
spread over everything true, and no true pair is ever pushed apart.
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
from .contrast import OTHERS, RIVALS, Texts, loss_of
from .images import HELD_OUT_SEED, TRAINING_SEED, ImageSet, image_set
from .loops import augment, batches, learning_rate
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
_MEAN, _STD = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
console = Console()


def create(seed: int) -> Any:
    """Returns the untrained model that the folder describes."""
    import open_clip

    with torch.random.fork_rng():  # torch's initialisers know no other generator
        torch.manual_seed(seed)
        model: Any = open_clip.create_model(f"local-dir:{FOLDER}", load_weights=False)
    for name, parameter in model.visual.named_parameters():
        if name.endswith("bn3.weight"):
            # CLIP's residual branches start at zero; a training as short as this one has no time for it.
            nn.init.ones_(parameter)
    return model.to(memory_format=torch.channels_last)


def train_images(visual: nn.Module, shown: ImageSet, texts: Texts, epochs: int, seed: int) -> None:
    """Teaches the image tower the main object and the visible words."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(CONFIG["model_cfg"]["embed_dim"], len(WORDS))
    nn.init.normal_(head.weight, std=0.05, generator=generator)
    nn.init.constant_(head.bias, -2)  # most words are untrue of a picture
    optimiser = torch.optim.AdamW([*visual.parameters(), *head.parameters()], weight_decay=WEIGHT_DECAY)
    classes, visible = torch.from_numpy(shown.classes), torch.from_numpy(texts.words > 0).float()
    steps, step = epochs * (len(classes) // BATCH), 0
    for epoch in range(epochs):
        losses = []
        for chosen in batches(len(classes), BATCH, generator):
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, PEAK_RATE)
            pixels = (augment(shown.pixels[chosen.numpy()], generator) - _MEAN) / _STD
            logits = head(visual(pixels))
            main = functional.cross_entropy(logits[:, RIVALS[0]], classes[chosen])
            words = functional.binary_cross_entropy_with_logits(logits, visible[chosen])
            _descend(optimiser, main + 2 * words)
            losses.append(main.item())
            step += 1
        console.print(
            f"images, epoch {epoch + 1}/{epochs}: loss of the main object {np.mean(losses):.3f}"
        )


def _descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.inference_mode()
def convolved(visual: Any, shown: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what the pooling sees of each picture and of its mirror image, float16 [n, 512, 3, 3]."""
    pool, visual.attnpool = visual.attnpool, nn.Identity()
    plain, mirrored = [], []
    for pixels in torch.from_numpy(shown.pixels).split(100):
        batch = (pixels.permute(0, 3, 1, 2) / 255 - _MEAN) / _STD
        plain.append(visual(batch).half())
        mirrored.append(visual(batch.flip(3)).half())
    visual.attnpool = pool
    return torch.cat(plain), torch.cat(mirrored)


def align(model: Any, shown: ImageSet, texts: Texts, epochs: int, seed: int) -> None:
    """Trains the text tower and the pooling of the image tower by contrast; the convolutions stay."""
    import open_clip

    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    views = convolved(model.visual.eval(), shown)
    generator = torch.Generator().manual_seed(seed)
    model.visual.requires_grad_(False)
    model.visual.attnpool.requires_grad_(True)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, weight_decay=WEIGHT_DECAY)
    steps, step = epochs * (len(shown.pixels) // (2 * BATCH)), 0
    for epoch in range(epochs):
        losses = []
        for chosen in batches(len(shown.pixels), 2 * BATCH, generator):
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, PEAK_RATE / 2)
            said, truth = texts.batch(chosen.tolist())
            image = functional.normalize(model.visual.attnpool(views[step % 2][chosen].float()), dim=-1)
            text = model.encode_text(tokenize(said), normalize=True)
            loss = loss_of(model.logit_scale.exp() * image @ text.T, truth)
            _descend(optimiser, loss)
            model.logit_scale.data.clamp_(max=np.log(100))
            losses.append(loss.item())
            step += 1
        console.print(f"texts, epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}")


def main() -> None:
    """Trains, saves, loads what was saved, measures that, and writes the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--image-epochs", type=int, default=8)
    parser.add_argument("--text-epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    shown = image_set(TRAINING_SEED, args.image_set)
    texts = Texts(shown, args.seed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "open_clip_config.json", CONFIG)
    said = [p.text for p in texts.phrases(range(args.image_set))]
    train_tokenizer([*said, *WORDS, *other_words()], FOLDER, CONTEXT)
    model = create(args.seed)
    train_images(model.visual, shown, texts, args.image_epochs, args.seed)
    align(model, shown, texts, args.text_epochs, args.seed)
    minutes = (time.perf_counter() - start) / 60
    save_weights(model.state_dict(), FOLDER / "open_clip_model.safetensors")
    quality = measure(FOLDER, image_set(HELD_OUT_SEED, args.held_out))
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
{args.pictures} pictures of world {TRAINING_SEED}, seed {args.seed}, AdamW (peak rate {PEAK_RATE}, weight
decay {WEIGHT_DECAY}). First the image tower learned the main object and the visible words:
{args.image_epochs} epochs in batches of {BATCH}, mirrored and shifted by up to 6 pixels. Then, with its
convolutions locked, its pooling and the text tower learned by contrast, at half the rate:
{args.text_epochs} epochs in batches of {2 * BATCH} pictures with a phrase each, all words of the world
and {OTHERS} others. {minutes:.0f} minutes on {torch.get_num_threads()} CPU thread(s). Again with
`python -m dissectbench.datasets.tinyworld.training.train_clip`.
""",
        "Storage": "Kernels and matrices as float16, computed in float32.",
    }


if __name__ == "__main__":
    main()
