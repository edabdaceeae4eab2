"""Descriptions are in every slot about equally often, and identical ones are shown once."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.harness.records import UnitId
from dissectbench.results.studies.design.checks import repeated_tasks
from dissectbench.results.studies.design.drafts import Draft, ordered
from dissectbench.results.studies.design.slots import SharedText, SlotBalance, join_identical, normalised

METHODS = ("a", "b", "c", "d")


def counts(arranged, method, n):
    """How often a method is in each of n slots."""
    slots = Counter(
        slot for texts in arranged for slot, text in enumerate(texts) if method in text.methods
    )
    return [slots[slot] for slot in range(n)]


@given(
    seed=st.integers(0, 2**32),
    layers=st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=120),
    n=st.integers(2, 5),
)
def test_every_method_is_about_equally_often_in_each_slot_of_each_layer_and_of_all(seed, layers, n):
    methods = [f"m{k}" for k in range(n)]
    balance = SlotBalance(np.random.default_rng(seed))
    texts = [SharedText(method, (method,)) for method in methods]
    arranged = [(layer, balance.arrange(texts, layer)) for layer in layers]
    for method in methods:
        for layer in set(layers):
            of_layer = counts([t for la, t in arranged if la == layer], method, n)
            assert max(of_layer) - min(of_layer) <= 2
        total = counts([t for _, t in arranged], method, n)
        assert max(total) - min(total) <= 4


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_methods_that_share_texts_are_balanced_too(seed, data):
    rows = data.draw(
        st.lists(st.tuples(*[st.sampled_from("uvw")] * len(METHODS)), min_size=60, max_size=60)
    )
    balance = SlotBalance(np.random.default_rng(seed))
    by_size = {}
    for row in rows:
        shared = join_identical(dict(zip(METHODS, row, strict=True)))
        by_size.setdefault(len(shared), []).append(balance.arrange(shared, "layer"))
    for n, arranged in by_size.items():
        for method in METHODS:
            of_slots = counts(arranged, method, n)
            assert sum(of_slots) == len(arranged)
            assert max(of_slots) - min(of_slots) <= 4


def test_the_order_is_random_and_not_a_rotation_of_one():
    balance = SlotBalance(np.random.default_rng(0))
    texts = [SharedText(method, (method,)) for method in METHODS]
    orders = Counter(tuple(t.text for t in balance.arrange(texts, "x")) for _ in range(480))
    # All 24 orders occur, none much more often than the others (20 times expected).
    assert len(orders) == 24
    assert max(orders.values()) < 45


def test_identical_descriptions_are_one_slot_that_is_credited_to_all_their_methods():
    texts = {"a": "Red  cars", "b": "red cars", "c": "red cars ", "d": "red car"}
    assert join_identical(texts) == [
        SharedText("Red cars", ("a", "b", "c")),
        SharedText("red car", ("d",)),
    ]
    draft = Draft("unit", UnitId("net", "x", 3), tuple(join_identical(texts)))
    rows = draft.key(0)
    assert [(row.slot, row.method) for row in rows] == [(1, "a"), (1, "b"), (1, "c"), (2, "d")]
    assert draft.task(0, ("i.jpg",)).descriptions == ("Red cars", "red car")


@given(st.dictionaries(st.sampled_from(METHODS), st.text(min_size=1), min_size=1))
def test_no_two_slots_have_the_same_text_and_no_method_is_lost(texts):
    shared = join_identical(texts)
    assert sorted(method for text in shared for method in text.methods) == sorted(texts)
    assert len({normalised(text.text) for text in shared}) == len(shared)


@given(
    seed=st.integers(0, 2**32),
    units=st.integers(1, 40),
    checks=st.integers(0, 10),
    share=st.floats(0, 0.5),
)
def test_all_tasks_occur_once_repetitions_come_later_and_checks_are_spread(seed, units, checks, share):
    rng = np.random.default_rng(seed)
    texts = (SharedText("s", ("a",)), SharedText("t", ("b",)))
    drafts = [Draft("unit", UnitId("net", "x", k), texts) for k in range(units)]
    tests = [Draft("attention", UnitId("net", "x", k), texts) for k in range(checks)]
    repeats = repeated_tasks(drafts, share, rng)
    assert len(repeats) == round(share * units)
    tasks = ordered(drafts, tests, repeats, rng)
    ids = [draft.id(seed) for draft in tasks]
    assert len(ids) == len(set(ids)) == units + checks + len(repeats)
    for draft in repeats:
        assert draft.slots != texts
        assert draft.repeats is not None
        assert ids.index(draft.repeats.id(seed)) < ids.index(draft.id(seed))
    places = [place for place, draft in enumerate(tasks) if draft.role == "attention"]
    if checks > 1:
        stretch = (units + len(repeats)) / checks
        assert max(np.diff(places)) <= 2 * stretch + 2
