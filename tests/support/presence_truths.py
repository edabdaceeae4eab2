"""Units and descriptions with known presence: synthetic, and the masks of tinyworld."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dissectbench.results.studies.correlation.sampling import standardized
from dissectbench.results.studies.correlation.simulation import Truth

KINDS = ("calibrated", "overconfident", "blind", "polysemantic", "unrelated", "useless")
"""How the guess and the unit relate to presence, see `synthetic`."""


def synthetic(kind: str, prevalence: float, images: int, seed: int) -> Truth:
    """A unit and a description of which a share of the images shows the concept.

    Kinds: "calibrated", the guess is the true probability; "overconfident", its log odds are halved and
    shifted; "blind", the model sees only half of the images that show the concept; "polysemantic", the
    unit responds to a part of the concept and to something else; "unrelated", the unit has nothing to do
    with the concept; "useless", the guess has nothing to do with it.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), round(1000 * prevalence)])
    present = np.zeros(images, bool)
    present[rng.permutation(images)[: round(prevalence * images)]] = True
    seen = present & (rng.random(images) < 0.5) if kind == "blind" else present
    if kind == "useless":
        seen = rng.permutation(present)
    # Evidence of a normal distribution that is two standard deviations higher where the model sees it.
    odds = 2 * (rng.normal(size=images) + 2 * seen) - 2 + np.log(prevalence / (1 - prevalence))
    if kind == "overconfident":
        odds = odds / 2 - 2
    respond = present.astype(float)
    if kind == "polysemantic":
        respond = present * (rng.random(images) < 0.4) + (rng.random(images) < 0.03)
    elif kind == "unrelated":
        respond = np.zeros(images)
    values = np.maximum(0, respond + 0.7 * rng.normal(size=images)) ** 1.5
    return Truth(f"{kind} {prevalence:g}", values, present, 1 / (1 + np.exp(-odds)))


def synthetics(images: int = 20_000, prevalences: tuple[float, ...] = (0.02, 0.1, 0.4)) -> list[Truth]:
    """Every kind with every prevalence."""
    return [synthetic(kind, share, images, 0) for kind in KINDS for share in prevalences]


def tinyworld(folder: Path, units: int = 12, images: int = 1200) -> list[Truth]:
    """Units of tinyworld's network, each with the word that fits best and one that does not.

    Presence is exact: a word fits an image if a mask or a label of the image has it.
    """
    from dissectbench.datasets import tinyworld as world
    from dissectbench.harness.activations import probe_layers
    from dissectbench.harness.cache import Cache
    from dissectbench.harness.config import build, compose
    from dissectbench.harness.studies.guess import guesses
    from dissectbench.metrics.activation.presence import annotated_presence

    settings = compose([f"probe.images={images}", "device=cpu"]).config
    probe = world.probing_set(images)
    cache = Cache(folder / "cache")
    layers = probe_layers(
        build(settings.target, "target"), probe, ["layer3", "layer4"], store=folder / "store", cache=cache
    )
    names, present = annotated_presence(probe, cache)
    shown = (present.sum(axis=1) >= 12) & (present.mean(axis=1) <= 0.9)
    names = [name for name, use in zip(names, shown, strict=True) if use]
    columns = np.stack([standardized(row) for row in present[shown]])
    encoder = build(settings.encoder, "encoder")
    guess = guesses(encoder, probe, names, cache)
    rng = np.random.default_rng(0)
    truths = []
    for layer in layers.values():
        alive = np.flatnonzero(~layer.dead)
        for unit in rng.permutation(alive)[: units // 2].tolist():
            values = np.asarray(layer.values[:, unit], np.float64)
            best = int((columns @ standardized(values)).argmax())
            for word in (best, int(rng.integers(len(names)))):
                name = f"{layer.name}:{unit} {names[word]}"
                truths.append(Truth(name, values, columns[word] > 0, guess[names[word]]))
    return truths
