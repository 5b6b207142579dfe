"""Row 48 of reliability.md: spoilt bodies and pictures. A small number of each here; `pytest -m slow` sends 20 000."""

import http.client
import urllib.parse
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import Server
from tests.hostile.mutations import bodies, mutated, pictures

FEW, MANY = 250, 10_000

quietly = {"suppress_health_check": list(HealthCheck)}


class Sender:
    """One kept connection to the server, as long as the server keeps it."""

    def __init__(self, server: Server) -> None:
        address = urllib.parse.urlsplit(server.url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)

    def status(self, path: str, body: bytes) -> int:
        self.connection.request("POST", path, body)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


@pytest.fixture(scope="module")
def sender(server: Server) -> Iterator[Sender]:
    sending = Sender(server)
    yield sending
    sending.connection.close()


def check_bodies(sender: Sender, count: int) -> None:
    @settings(max_examples=count, derandomize=count == FEW, **quietly)
    @given(mutated(bodies()))
    def only_200_and_4xx(body: bytes) -> None:
        status = sender.status("/service", body)
        assert status == 200 or 400 <= status < 500

    only_200_and_4xx()
    assert sender.status("/service", bodies()[0]) == 200


def check_pictures(sender: Sender, count: int) -> None:
    @settings(max_examples=count, derandomize=count == FEW, **quietly)
    @given(mutated(pictures()))
    def only_200_and_4xx(picture: bytes) -> None:
        assert sender.status("/service/FaceDetectionModel", picture) in (200, 400, 413, 422)

    only_200_and_4xx()
    assert sender.status("/service/FaceDetectionModel", pictures()[0]) == 200


def test_row48_spoilt_bodies_are_answered_or_refused(sender: Sender) -> None:
    check_bodies(sender, FEW)


def test_row48_spoilt_pictures_are_answered_or_refused(sender: Sender) -> None:
    check_pictures(sender, FEW)


@pytest.mark.slow
def test_row48_ten_thousand_spoilt_bodies(sender: Sender) -> None:
    check_bodies(sender, MANY)


@pytest.mark.slow
def test_row48_ten_thousand_spoilt_pictures(sender: Sender) -> None:
    check_pictures(sender, MANY)
