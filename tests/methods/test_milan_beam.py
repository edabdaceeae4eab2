"""Tests the beam search against one on Python lists, and against all sequences."""

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
    """Returns log p of a word after the previous one, per unit; the last row follows the start token."""
    logits = np.random.default_rng(seed).normal(0, 2, (units, words + 1, words))
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def run(tables: np.ndarray, beam: int, steps: int):
    """Searches with a scorer that depends on the previous word and, through its state, on all before."""
    values = torch.tensor(tables)

    def step(tokens, state, active):
        (history,) = state
        row = torch.where(tokens == START, values.shape[1] - 1, tokens)
        scores = values[torch.arange(len(values))[:, None], row].float()
        # Depends on all previous words, so that a beam with the state of another one is detected.
        scores = scores - 0.1 * torch.sin(history[..., None] + torch.arange(values.shape[2]))
        scores[~active] = torch.nan  # results for finished beams must be ignored
        return scores, (history * 3 + tokens,)

    first = torch.full((len(tables),), START)
    return search(step, (torch.zeros(len(tables), 1),), first, stop=STOP, beam=beam, steps=steps)


def score(tables: np.ndarray, unit: int, before: tuple[int, ...], word: int) -> float:
    history = 0.0
    for token in (START, *before)[:-1]:
        history = history * 3 + token
    row = before[-1] if before else tables.shape[1] - 1
    return tables[unit, row, word] - 0.1 * math.sin(history + word)


def search_with_lists(tables: np.ndarray, unit: int, beam: int, steps: int):
    beams, taken = [((), 0.0)], steps
    for position in range(steps):
        extended = []
        for tokens, total in beams:
            if STOP in tokens:
                extended.append(((*tokens, STOP), total))
                continue
            for word in range(tables.shape[2]):
                extended.append(((*tokens, word), total + score(tables, unit, tokens, word)))
        beams = sorted(extended, key=lambda hypothesis: -hypothesis[1])[:beam]
        if all(tokens[-1] == STOP for tokens, _ in beams):
            taken = position + 1
            break
    padded = [(tokens + (STOP,) * (steps - len(tokens)), total) for tokens, total in beams]
    return padded, taken


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 6), st.integers(1, 9), st.integers(1, 5))
def test_the_search_follows_its_rules(seed, units, words, beam, steps):
    tables = table(seed, units, words)
    result = run(tables, beam, steps)
    for unit in range(units):
        expected, taken = search_with_lists(tables, unit, beam, steps)
        real = torch.isfinite(result.scores[unit])
        assert real.sum() == len(expected)
        np.testing.assert_allclose(result.scores[unit, real], [s for _, s in expected], atol=1e-4)
        if len(expected) == 1 or np.diff([s for _, s in expected]).max() < -1e-4:
            assert [tuple(t.tolist()) for t in result.tokens[unit, real]] == [t for t, _ in expected]
        assert result.steps[unit] == taken


def test_a_beam_as_wide_as_the_number_of_sequences_finds_the_best():
    tables, words, steps = table(3, 1, 3), 3, 4
    everything = {}
    for tokens in itertools.product(range(words), repeat=steps):
        cut = tokens[: tokens.index(STOP) + 1] if STOP in tokens else tokens
        everything[cut] = sum(score(tables, 0, cut[:i], cut[i]) for i in range(len(cut)))
    result = run(tables, 200, steps)
    assert torch.isfinite(result.scores).sum() == len(everything)
    best = max(everything, key=lambda tokens: everything[tokens])
    assert tuple(result.tokens[0, 0, : result.lengths[0, 0]].tolist()) == best
    assert result.scores[0, 0].item() == pytest.approx(everything[best], abs=1e-5)


@pytest.mark.numerics
def test_the_hypotheses_of_a_unit_do_not_depend_on_the_other_units():
    tables = table(8, 5, 6)
    tables[:, :, STOP] += np.arange(5)[:, None]  # some stop early, some late
    together = run(tables, 7, 12)
    assert len(set(together.steps.tolist())) > 1  # otherwise no unit waits for another
    for unit in range(len(tables)):
        alone = run(tables[unit : unit + 1], 7, 12)
        for of_one, of_all in zip(alone, together, strict=True):
            assert torch.equal(of_one[0], of_all[unit])


def test_lengths_count_the_first_stop():
    result = run(table(1, 2, 4), 5, 6)
    for tokens, length in zip(result.tokens.flatten(0, 1), result.lengths.flatten(), strict=True):
        words = tokens.tolist()
        assert length == (words.index(STOP) + 1 if STOP in words else 6)


def test_a_unit_that_starts_with_stop_is_skipped():
    calls = []

    def step(tokens, state, active):
        calls.append(active.clone())
        return torch.zeros(*tokens.shape, 4), state

    first = torch.tensor([START, STOP])
    result = search(step, (torch.zeros(2, 1),), first, stop=STOP, beam=3, steps=4)
    assert not any(active[1].any() for active in calls)
    assert (result.tokens[1] == STOP).all()
    assert result.steps[1] == 1
