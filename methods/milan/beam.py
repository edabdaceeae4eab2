"""Beam search over all units at once.

The rules are those of the search behind the published descriptions: sums of log p without any length
normalisation; the first words of all beams come from the start token; a beam that has said stop says
nothing but stop, at no cost; the search ends when every beam has stopped, or after a number of words.
Each unit ends for itself: how long the others take changes nothing in its hypotheses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

State: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[Tensor, State, Tensor], tuple[Tensor, State]]
"""Reads a word of every beam, int64 [units, beams], and the state before it, tensors [units, beams, ...];
returns the score of every word to come, [units, beams, vocabulary], and the state after. The third
argument says which beams go on: nothing is read of the results of the others."""


class Hypotheses(NamedTuple):
    """What a search has found, the best first.

    Attributes:
        tokens: int64 [units, beam, steps] without start; all stop after the first stop.
        lengths: int64 [units, beam], tokens with the first stop.
        scores: [units, beam] sums over the tokens; -inf where there are fewer sequences than beams.
        steps: int64 [units], words until every beam of the unit had stopped, or the most allowed.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    steps: Tensor


def search(step: Step, state: State, first: Tensor, *, stop: int, beam: int, steps: int) -> Hypotheses:
    """Finds the sequences of tokens with the highest sums of scores.

    Args:
        step: scores the next word.
        state: before the first word, tensors [units, 1, ...].
        first: int64 [units], the token before the first word; a unit that starts with stop is left out.
        stop: token after the last word.
        beam: hypotheses kept per unit; 1: greedy.
        steps: at most so many tokens, stop included.
    """
    units, device = len(first), first.device
    tokens = torch.full((units, beam, steps), stop, device=device)
    totals = torch.zeros(units, 1, device=device)
    last = first[:, None]
    taken = torch.full((units,), steps, device=device)
    done = torch.zeros(units, dtype=torch.bool, device=device)
    for position in range(steps):
        scores, state = step(last, state, last != stop)
        parents, last, totals = _extend(totals, scores, last == stop, done, stop=stop, beam=beam)
        state = tuple(_follow(part, parents) for part in state)
        if position:
            tokens = _follow(tokens, parents)
        tokens[:, :, position] = last
        now = (last == stop).all(dim=1)
        taken[now & ~done] = position + 1
        done = now
        if done.all():
            break
    lengths = ((tokens != stop).sum(dim=2) + 1).clamp(max=steps)
    return Hypotheses(tokens, lengths, totals, taken)


def _extend(
    totals: Tensor, scores: Tensor, stopped: Tensor, done: Tensor, *, stop: int, beam: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the beams [units, beam] that the best extensions come from, their tokens and their sums."""
    words = scores.shape[-1]
    scores = scores.masked_fill(stopped[..., None], -torch.inf)
    scores[..., stop].masked_fill_(stopped, 0.0)
    candidates = (totals[..., None] + scores).flatten(1)
    # With fewer candidates than beams, the beams left over hold nothing and have stopped.
    candidates = functional.pad(candidates, (0, max(0, beam - candidates.shape[1])), value=-torch.inf)
    best, chosen = candidates.topk(beam)
    nothing = best == -torch.inf
    parents = (chosen // words).masked_fill(nothing, 0)
    tokens = (chosen % words).masked_fill(nothing, stop)
    if totals.shape[1] == beam:  # a unit that is done keeps even the order of equal sums
        parents = torch.where(done[:, None], torch.arange(beam, device=parents.device), parents)
        best = torch.where(done[:, None], totals, best)
    return parents, tokens, best


def _follow(values: Tensor, parents: Tensor) -> Tensor:
    """Returns `values` [units, beams, ...] of the parents."""
    units, beams = values.shape[:2]
    rows = parents + beams * torch.arange(units, device=parents.device)[:, None]
    return values.flatten(0, 1)[rows]
