"""Rate-limit headers, and the gate that pauses threads."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.foundation.rate_limits import Gate, duration, reset_after, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "250", "retry-after": "20"}, 0.25),
        ({"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT"}, 60),
        ({"retry-after": "Fri, 02 Jan 2026 03:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1h2m3.5s", 3723.5), ("12ms", 0.012), ("30", 30), ("-1", 0), ("soon", 0), ("", 0)],
)
def test_durations(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("remaining", "seconds"), [("0", 3), ("1", 0), ("-1", 0), ("", 0)])
def test_only_a_used_up_limit_causes_a_wait(remaining, seconds):
    headers = {"x-ratelimit-remaining-tokens": remaining, "x-ratelimit-reset-tokens": "3s"}
    assert reset_after(headers) == seconds


@given(st.text(), st.text())
def test_no_header_raises_an_error(name, value):
    headers = {"retry-after": value, "retry-after-ms": name, "x-ratelimit-remaining-requests": "0"}
    assert (retry_after(headers) or 0.0) >= 0
    assert reset_after({**headers, "x-ratelimit-reset-requests": value}) >= 0


def test_a_gate_stays_closed_for_the_longest_time():
    gate = Gate()
    assert gate.remaining() == 0
    gate.close(5)
    gate.close(1)
    assert 4 < gate.remaining() <= 5
    gate = Gate()
    gate.close(0.02)
    time.sleep(0.03)
    assert gate.remaining() == 0
