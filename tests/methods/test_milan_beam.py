"""The beam search against one written down with lists, and against trying everything."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.methods.milan.beam import search

START, STOP = 99, 1


def table(seed: int, units: int, words: int) -> np.ndarray:
    """log p of a word after the one before it, by unit; the last row is what follows the start."""
    logits = np.random.default_rng(seed).normal(0, 2, (units, words + 1, words))
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def run(tables: np.ndarray, beam: int, steps: int):
    """Searches with a scorer that knows the word before and, through its state, all before it."""
    values = torch.tensor(tables)

    def step(tokens, state, going):
        (history,) = state
        row = torch.where(tokens == START, values.shape[1] - 1, tokens)
        scores = values[torch.arange(len(values))[:, None], row].float()
        # Depends on the whole past, so that a beam with another's state would be found out.
        scores = scores - 0.1 * torch.sin(history[..., None] + torch.arange(values.shape[2]))
        scores[~going] = torch.nan
        return scores, (history * 3 + tokens,)

    first = torch.full((len(tables),), START)
    return search(step, (torch.zeros(len(tables), 1),), first, stop=STOP, beam=beam, steps=steps)


def score(tables: np.ndarray, unit: int, before: tuple[int, ...], word: int) -> float:
    history = 0.0
    for token in (START, *before)[:-1]:
        history = history * 3 + token
    row = before[-1] if before else tables.shape[1] - 1
    return tables[unit, row, word] - 0.1 * math.sin(history + word)


def by_lists(tables: np.ndarray, unit: int, beam: int, steps: int):
    beams, taken = [((), 0.0)], steps
    for position in range(steps):
        longer = []
        for tokens, total in beams:
            if STOP in tokens:
                longer.append(((*tokens, STOP), total))
                continue
            for word in range(tables.shape[2]):
                longer.append(((*tokens, word), total + score(tables, unit, tokens, word)))
        beams = sorted(longer, key=lambda found: -found[1])[:beam]
        if all(tokens[-1] == STOP for tokens, _ in beams):
            taken = position + 1
            break
    padded = [(tokens + (STOP,) * (steps - len(tokens)), total) for tokens, total in beams]
    return padded, taken


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 6), st.integers(1, 9), st.integers(1, 5))
def test_the_search_finds_what_the_rules_say(seed, units, words, beam, steps):
    tables = table(seed, units, words)
    found = run(tables, beam, steps)
    for unit in range(units):
        expected, taken = by_lists(tables, unit, beam, steps)
        real = torch.isfinite(found.scores[unit])
        assert real.sum() == len(expected)
        np.testing.assert_allclose(found.scores[unit, real], [s for _, s in expected], atol=1e-4)
        if len(expected) == 1 or np.diff([s for _, s in expected]).max() < -1e-4:
            assert [tuple(t.tolist()) for t in found.tokens[unit, real]] == [t for t, _ in expected]
        assert found.steps[unit] == taken


def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_all():
    tables, words, steps = table(3, 1, 3), 3, 4
    everything = {}
    for tokens in itertools.product(range(words), repeat=steps):
        cut = tokens[: tokens.index(STOP) + 1] if STOP in tokens else tokens
        everything[cut] = sum(score(tables, 0, cut[:i], cut[i]) for i in range(len(cut)))
    found = run(tables, 200, steps)
    assert torch.isfinite(found.scores).sum() == len(everything)
    best = max(everything, key=lambda tokens: everything[tokens])
    assert tuple(found.tokens[0, 0, : found.lengths[0, 0]].tolist()) == best
    assert found.scores[0, 0].item() == pytest.approx(everything[best], abs=1e-5)


@pytest.mark.numerics
def test_a_unit_is_searched_as_if_it_were_alone():
    tables = table(8, 5, 6)
    tables[:, :, STOP] += np.arange(5)[:, None]  # some stop early, some late
    together = run(tables, 7, 12)
    assert len(set(together.steps.tolist())) > 1  # otherwise nobody waits for anybody
    for unit in range(len(tables)):
        alone = run(tables[unit : unit + 1], 7, 12)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[unit])


def test_lengths_count_the_first_stop():
    found = run(table(1, 2, 4), 5, 6)
    for tokens, length in zip(found.tokens.flatten(0, 1), found.lengths.flatten(), strict=True):
        words = tokens.tolist()
        assert length == (words.index(STOP) + 1 if STOP in words else 6)


def test_a_unit_that_starts_with_stop_is_left_out():
    asked = []

    def step(tokens, state, going):
        asked.append(going.clone())
        return torch.zeros(*tokens.shape, 4), state

    first = torch.tensor([START, STOP])
    found = search(step, (torch.zeros(2, 1),), first, stop=STOP, beam=3, steps=4)
    assert not any(going[1].any() for going in asked)
    assert (found.tokens[1] == STOP).all()
    assert found.steps[1] == 1
