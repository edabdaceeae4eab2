"""Prices, budgets and accounts."""

import pickle
import threading

import pytest

from dissectbench.harness.foundation.pricing import Account, Budget, CostLimitError, Prices

PER_TOKEN = Prices(1e6, 2e6)  # one USD per prompt token, two per reply token


def test_a_budget_uses_its_own_prices_or_the_list_prices():
    assert Budget(prices=[1, 2]).account("gpt-4o-mini", list_prices=True).prices == Prices(1, 2)
    assert Budget().account("gpt-4o-mini", list_prices=True).prices == Prices(0.15, 0.6)
    assert Budget().account("gpt-4o-mini", list_prices=False).prices is None


def test_prices_are_per_million_tokens():
    assert Prices(0.15, 0.6).cost(1_000_000, 500_000) == pytest.approx(0.45)


def test_reserved_and_spent_money_never_exceed_the_limit():
    account = Account(PER_TOKEN, max_cost_usd=10)
    first = account.reserve(2, 2)
    assert first == 6
    account.settle(first, 3.0)
    second = account.reserve(7, 0)
    account.settle(second, 7.0)
    assert account.cost_usd == 10
    with pytest.raises(CostLimitError, match=r"10\.0000 USD are spent"):
        account.reserve(1, 0)


def test_a_call_waits_for_money_that_open_calls_may_release():
    account = Account(PER_TOKEN, max_cost_usd=10)
    reserved = account.reserve(10, 0)
    amounts = []
    thread = threading.Thread(target=lambda: amounts.append(account.reserve(8, 0)))
    thread.start()
    thread.join(0.1)
    assert not amounts
    account.settle(reserved, 1.0)
    thread.join(10)
    assert amounts == [8]


def test_a_call_that_cannot_be_paid_is_refused_after_the_open_calls():
    account = Account(PER_TOKEN, max_cost_usd=10)
    reserved = account.reserve(5, 0)
    refusals = []

    def reserve():
        try:
            account.reserve(8, 0)
        except CostLimitError as error:
            refusals.append(error)

    thread = threading.Thread(target=reserve)
    thread.start()
    account.settle(reserved, 5.0)
    thread.join(10)
    assert len(refusals) == 1


def test_without_prices_calls_are_counted_and_cost_nothing():
    account = Account()
    account.settle(account.reserve(100, 100), 0.0)
    account.count(100, 3)
    assert (account.calls, account.prompt_tokens, account.reply_tokens) == (1, 100, 3)
    assert account.cost_usd == 0


def test_the_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(CostLimitError("message", "hint")))
    assert (type(error), error.message, error.hint) == (CostLimitError, "message", "hint")
