"""Two containers of Triton behind one gateway, on a network of their own: spread, loss of one, return."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.conftest import free_ports
from tests.docker.containers import KILL_A_MODEL, ask, network, podman, require_images, running, seconds_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALLERS = 4
COUNT = """
import re, urllib.request
metrics = urllib.request.urlopen("http://127.0.0.1:8002/metrics").read().decode()
print(sum(map(float, re.findall(r'nv_inference_request_success{model="facenet_embed"[^}]*} (.*)', metrics))))
"""


class Load:
    """Callers that post the same picture again and again, and what they were answered."""

    def __init__(self, url: str, body: bytes) -> None:
        self.url, self.body = url, body
        self.right = np.array(json.loads(ask(url, body)[1]))
        self.answers: Counter[str] = Counter()
        self.going = True
        self.threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()

    def _call(self) -> None:
        while self.going:
            status, answer = ask(self.url, self.body)
            right = status == 200 and np.allclose(json.loads(answer), self.right, atol=1e-5)
            self.answers["wrong" if status == 200 and not right else str(status)] += 1


def answered(triton: str) -> float:
    """Pictures that one Triton has embedded, by its own metrics."""
    return float(podman("exec", triton, "python", "-c", COUNT))


@pytest.fixture
def replicas() -> Iterator[tuple[str, str, str]]:
    """Both Tritons and the gateway's address."""
    require_images("face-triton", "face-gateway")
    (port,) = free_ports(1)
    triton = ("--network-alias=triton", "--env=FACE_CORES=1", "--cpus=1")
    gateway = ("--env=FACE_TRITON_URL=triton:8001", "--env=FACE_WITHOUT_KEYS=yes", f"--publish=127.0.0.1:{port}:8080")
    with (
        network("face-scaling") as net,
        running("face-triton", f"--network={net}", *triton) as first,
        running("face-triton", f"--network={net}", *triton) as second,
        running("face-gateway", f"--network={net}", *gateway),
    ):
        for container in (first, second):
            wait_until(lambda container=container: healthy(container))
        seconds_until(f"http://127.0.0.1:{port}/health/ready")
        time.sleep(6)  # by then the gateway has asked the name again
        yield first, second, f"http://127.0.0.1:{port}"


def test_a_triton_whose_model_died_ends_so_that_it_is_started_again():
    require_images("face-triton")
    with running("face-triton") as triton:
        wait_until(lambda: healthy(triton))
        start = time.monotonic()
        podman("exec", triton, "python", "-c", KILL_A_MODEL)
        assert podman("wait", triton) == "1"
        print(f"\na Triton with a dead model ends after {time.monotonic() - start:.1f} s")


def healthy(container: str) -> bool:
    try:
        podman("healthcheck", "run", container)
    except AssertionError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> float:
    """The seconds until it holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < 120
        time.sleep(0.5)
    return time.monotonic() - start


def test_requests_are_spread_and_one_triton_may_die_and_come_back(replicas, make_picture):
    first, second, url = replicas
    picture = base64.b64encode(make_picture(size=(160, 160))).decode()
    body = json.dumps({"cnt": 1, "images": [picture]}).encode()
    before = [answered(triton) for triton in (first, second)]
    with Load(f"{url}/service/FaceEmbedModel", body) as load:
        time.sleep(10)
        shares = [answered(triton) - start for triton, start in zip((first, second), before, strict=True)]
        podman("kill", "--signal=KILL", first)
        time.sleep(10)
        podman("start", first)
        back = wait_until(lambda: healthy(first))
        at_start = answered(first)
        seen = wait_until(lambda: answered(first) > at_start + 50)  # more than the gateway's own questions
    print(f"\nspread {shares}, answers {dict(load.answers)}; back after {back:.1f} s, asked again {seen:.1f} s later")
    assert min(shares) > 0.4 * sum(shares)
    assert set(load.answers) <= {"200", "503"}
    assert load.answers["503"] <= CALLERS
