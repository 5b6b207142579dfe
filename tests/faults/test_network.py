"""The network between gateway and Triton, and replicas behind it, under load: no wrong answer, and an end in time."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.client.live import PROJECT, LiveGateway
from tests.fakes.network import Network
from tests.fakes.triton import FakeTriton, embedding_of
from tests.faults.conftest import Callers
from tests.load.callers import Known, Tally, body_of

DEADLINE_SECONDS = 2.0
FAULT_SECONDS = 6.0
RECOVERY_SECONDS = 6.0
CALLERS = 16
PICTURES = [b"\x89PNG\r\n\x1a\n picture %d" % number for number in range(50)]
KNOWN = Known([body_of(picture) for picture in PICTURES], np.stack([embedding_of(picture) for picture in PICTURES]))


def gateway_to(*ports: int, deadline_seconds: float = DEADLINE_SECONDS) -> LiveGateway:
    urls = ",".join(f"127.0.0.1:{port}" for port in ports)
    return LiveGateway(urls, FACE_DEADLINE_SECONDS=deadline_seconds)


def until_well(gateway: LiveGateway, seconds: float) -> None:
    end = time.monotonic() + seconds
    while gateway.request("GET", "/health/ready").status != 200:
        assert time.monotonic() < end, f"not ready after {seconds} s"
        time.sleep(0.05)


def failures(tally: Tally) -> int:
    return sum(count for status, count in tally.statuses.items() if status != 200)


@pytest.fixture
def network() -> Iterator[Network]:
    with FakeTriton() as triton, Network(triton.port) as network:
        yield network


@pytest.mark.parametrize("fault", ["delay of 5 s", "dead for a while", "cut again and again"])
def test_a_bad_network_costs_only_answers_and_no_longer_than_it_is_bad(fault: str, network: Network) -> None:
    with gateway_to(network.port) as gateway:
        until_well(gateway, 10)
        with Callers(gateway.port, KNOWN, CALLERS) as tally:
            time.sleep(0.5)
            network.delay_seconds, network.dead = 5.0 * (fault == "delay of 5 s"), fault == "dead for a while"
            end = time.monotonic() + FAULT_SECONDS
            while time.monotonic() < end:
                if fault == "cut again and again":
                    network.cut()
                time.sleep(0.5)
            network.delay_seconds, network.dead = 0.0, False
            until_well(gateway, RECOVERY_SECONDS)
            failed, answered = failures(tally), tally.statuses[200]
            time.sleep(1)
        assert tally.statuses[200] > answered + 10
    assert failed > 0, "the fault was not felt"
    assert failures(tally) <= failed + CALLERS, "calls still fail after the network is well"
    assert (tally.wrong, tally.swapped) == (0, 0)
    assert set(tally.statuses) <= {200, 502, 503, 504}
    assert tally.slowest < DEADLINE_SECONDS + 0.7


def test_a_network_that_loses_a_twentieth_slows_answers_and_spoils_none(network: Network) -> None:
    with gateway_to(network.port) as gateway:
        until_well(gateway, 10)
        network.loss = 0.05
        with Callers(gateway.port, KNOWN, CALLERS) as tally:
            time.sleep(5)
    assert set(tally.statuses) == {200}
    assert tally.statuses[200] > 100
    assert tally.wrong == 0


REPLICA = """
import time
from tests.fakes.triton import FakeTriton
with FakeTriton() as triton:
    print(triton.port, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def replicas() -> Iterator[dict[int, subprocess.Popen[str]]]:
    """Three Tritons, each a process of its own, by port."""
    started = [
        subprocess.Popen([sys.executable, "-c", REPLICA], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        yield {int(process.stdout.readline()): process for process in started if process.stdout}
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_of_three_replicas_one_killed_and_one_stopped_cost_their_calls_in_flight_and_nothing_more(
    replicas: dict[int, subprocess.Popen[str]],
) -> None:
    _, killed, stopped = replicas.values()
    deadline_seconds = 5.0  # longer than it takes to find that one hangs, as the real one is
    with gateway_to(*replicas, deadline_seconds=deadline_seconds) as gateway:
        until_well(gateway, 10)
        with Callers(gateway.port, KNOWN, CALLERS) as tally:
            time.sleep(2)
            killed.kill()
            time.sleep(2)
            failed = failures(tally)
            time.sleep(2)
            assert failures(tally) == failed, "a killed replica still costs calls after 2 s"
            stopped.send_signal(signal.SIGSTOP)
            time.sleep(deadline_seconds + 1)
            failed_of_stopped = failures(tally)
            assert gateway.request("GET", "/health/ready").status == 200
            answered = tally.statuses[200]
            time.sleep(2)
            assert failures(tally) == failed_of_stopped, "a stopped replica still costs calls after a deadline"
            assert tally.statuses[200] > answered + 10
    assert failed <= CALLERS
    assert failed_of_stopped - failed <= 2 * CALLERS
    assert (tally.wrong, tally.swapped) == (0, 0)
    assert tally.slowest < deadline_seconds + 0.7
