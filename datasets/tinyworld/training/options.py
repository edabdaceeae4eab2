"""Command line options of the training scripts."""

from __future__ import annotations

import argparse


def parse_options(description: str | None, **epochs: int) -> argparse.Namespace:
    """Parses --training-images, --held-out-images, --seed and the numbers of epochs.

    Args:
        description: text of --help.
        epochs: name and default of each number of epochs; `image_epochs=8` adds --image-epochs.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options = {"training_images": 10_000, "held_out_images": 1000, **epochs, "seed": 0}
    for name, default in options.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=default, help="default: %(default)s")
    return parser.parse_args()
