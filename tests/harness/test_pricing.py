"""Accounts of tokens and money."""

import pickle
import threading

import pytest

from dissectbench.harness.foundation.pricing import Account, CostLimitError, Prices

PER_TOKEN = Prices(1e6, 2e6)  # one USD a token of the prompt, two of the reply


def test_prices_are_per_million_tokens():
    assert Prices(0.15, 0.6).cost(1_000_000, 500_000) == pytest.approx(0.45)


def test_what_is_reserved_and_what_is_spent_never_pass_the_limit_together():
    account = Account(PER_TOKEN, max_cost_usd=10)
    first = account.reserve(2, 2)
    assert first == 6
    account.settle(first, 3.0)
    second = account.reserve(7, 0)
    account.settle(second, 7.0)
    assert account.cost_usd == 10
    with pytest.raises(CostLimitError, match=r"10\.0000 USD are spent"):
        account.reserve(1, 0)


def test_a_call_waits_for_money_that_others_may_give_back():
    account = Account(PER_TOKEN, max_cost_usd=10)
    held = account.reserve(10, 0)
    got = []
    thread = threading.Thread(target=lambda: got.append(account.reserve(8, 0)))
    thread.start()
    thread.join(0.1)
    assert not got
    account.settle(held, 1.0)
    thread.join(10)
    assert got == [8]


def test_a_call_that_no_refund_can_pay_is_refused_once_the_others_are_done():
    account = Account(PER_TOKEN, max_cost_usd=10)
    held = account.reserve(5, 0)
    refused = []

    def reserve():
        try:
            account.reserve(8, 0)
        except CostLimitError as error:
            refused.append(error)

    thread = threading.Thread(target=reserve)
    thread.start()
    account.settle(held, 5.0)
    thread.join(10)
    assert len(refused) == 1


def test_without_prices_calls_are_counted_and_free():
    account = Account()
    account.settle(account.reserve(100, 100), 0.0)
    account.count(100, 3)
    assert (account.calls, account.prompt_tokens, account.reply_tokens) == (1, 100, 3)
    assert account.cost_usd == 0


def test_the_refusal_comes_out_of_another_process_whole():
    error = pickle.loads(pickle.dumps(CostLimitError("message", "hint")))
    assert (type(error), error.message, error.hint) == (CostLimitError, "message", "hint")
