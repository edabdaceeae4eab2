"""Beam search for all units at once.

The rules are those of the search behind the published descriptions (AllenNLP's): scores are sums of
log p without length normalisation; the first words of all beams extend the start token; a beam that has
produced stop is extended by stop only, at no cost; the search ends when every beam has stopped, or after
a maximum number of words. Each unit ends on its own: its hypotheses do not depend on the other units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

State: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[Tensor, State, Tensor], tuple[Tensor, State]]
"""Scores the next word of every beam.

Takes the last words, int64 [units, beams], the state before them, tensors [units, beams, ...], and which
beams are not finished, bool [units, beams]; results for finished beams are ignored. Returns the score of
every next word, [units, beams, vocabulary], and the state after the last words."""


class Hypotheses(NamedTuple):
    """Results of a search, the best first.

    Attributes:
        tokens: int64 [units, beam, steps] without start; all stop after the first stop.
        lengths: int64 [units, beam], number of tokens including the first stop.
        scores: [units, beam] sums over the tokens; -inf where there are fewer sequences than beams.
        steps: int64 [units], words until every beam of the unit had stopped, or the maximum.
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
        first: int64 [units], the token before the first word; a unit that starts with stop is skipped.
        stop: token after the last word.
        beam: hypotheses kept per unit; 1: greedy.
        steps: maximum number of tokens, stop included.
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
        stopped = (last == stop).all(dim=1)
        taken[stopped & ~done] = position + 1
        done = stopped
        if done.all():
            break
    lengths = ((tokens != stop).sum(dim=2) + 1).clamp(max=steps)
    return Hypotheses(tokens, lengths, totals, taken)


def _extend(
    totals: Tensor, scores: Tensor, stopped: Tensor, done: Tensor, *, stop: int, beam: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best extensions [units, beam]: their parent beams, tokens and sums."""
    words = scores.shape[-1]
    scores = scores.masked_fill(stopped[..., None], -torch.inf)
    scores[..., stop].masked_fill_(stopped, 0.0)
    candidates = (totals[..., None] + scores).flatten(1)
    # With fewer candidates than beams, the remaining beams are empty and have stopped.
    candidates = functional.pad(candidates, (0, max(0, beam - candidates.shape[1])), value=-torch.inf)
    best, chosen = candidates.topk(beam)
    empty = best == -torch.inf
    parents = (chosen // words).masked_fill(empty, 0)
    tokens = (chosen % words).masked_fill(empty, stop)
    if totals.shape[1] == beam:
        # `topk` may reorder equal sums: a finished unit keeps its order however long the others take.
        parents = torch.where(done[:, None], torch.arange(beam, device=parents.device), parents)
        best = torch.where(done[:, None], totals, best)
    return parents, tokens, best


def _follow(values: Tensor, parents: Tensor) -> Tensor:
    """Returns `values` [units, beams, ...] of the parents."""
    units, beams = values.shape[:2]
    rows = parents + beams * torch.arange(units, device=parents.device)[:, None]
    return values.flatten(0, 1)[rows]
