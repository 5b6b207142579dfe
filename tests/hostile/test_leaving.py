"""Callers who go away before their answer."""

import time

import pytest

from tests.fakes.triton import sleeps
from tests.hostile.conftest import FLAT, GOOD

HEAD = b"POST /service HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GOOD)


def leave(gateway, count):
    for _ in range(count):
        with gateway.connect() as connection:
            connection.sendall(HEAD + GOOD)


def test_calls_of_callers_who_left_are_cancelled_in_triton_within_a_second(gateway, fake):
    fake.script("facenet_compare", sleeps(5))
    leave(gateway, 20)
    time.sleep(1.0)
    assert all(call.cancelled for call in fake.calls)


@pytest.mark.parametrize("count", [500, pytest.param(30_000, marks=pytest.mark.slow)])
def test_callers_who_leave_leave_nothing_behind(gateway, fake, count):
    """Memory rises while many are let go at once, and stays where it is however many follow."""
    fake.script("facenet_compare", sleeps(0.05))
    before = gateway.rss()
    for _ in range(count // 500):
        leave(gateway, 500)
        time.sleep(0.3)
    end = time.monotonic() + 10
    while gateway.rss() > before + FLAT:
        assert time.monotonic() < end, "memory is not given back"
        time.sleep(0.2)
