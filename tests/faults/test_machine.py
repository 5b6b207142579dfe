"""What the machine may lack under a running server: shared memory, room for logs, a clock that goes evenly."""

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.live import body_of
from tests.conftest import PROJECT, serving
from tests.faults.conftest import Callers, is_ready, port, post, seconds_until
from tests.load.callers import learn

EMBED = "/service/FaceEmbedModel"
SMALL_MEMORY = "mount -t tmpfs -o size=24m shm /dev/shm"
FULL_LOGS = f"mount -t tmpfs -o size=4k logs {PROJECT}/.cache; head -c 64k /dev/zero >{PROJECT}/.cache/full 2>/dev/null"


def mounted(*commands: str) -> list[str]:
    """A command line's beginning: these mounts are seen by what follows, and by nobody else."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounts of one's own need root")
    return ["unshare", "--mount", "sh", "-c", "; ".join([*commands, 'exec "$@"']), "sh"]


def test_a_batch_too_large_for_shared_memory_fails_alone(repository: Path, make_picture: Callable[..., bytes]) -> None:
    """Docker gives 64 MiB; here are 24, of which a batch of 32 faces needs more than is left."""
    faces = [make_picture(size=(160, 160), seed=seed) for seed in range(32)]
    with serving(repository, within=mounted(SMALL_MEMORY)) as server:
        url = server.url + EMBED
        before = [post(url, body_of(face)) for face in faces[:3]]
        assert [status for status, _ in before] == [200] * 3
        many = [post(url, body_of(*faces)) for _ in range(3)]
        assert {status for status, _ in many} <= {200, 502, 503}
        assert 200 not in {status for status, _ in many}, "there was room enough: nothing was shown"
        seconds_until(True, server, 60)
        after = [post(url, body_of(face)) for face in faces[:3]]
        for (_, then), (status, now) in zip(before, after, strict=True):
            assert status == 200
            assert json.loads(now)[0] == pytest.approx(json.loads(then)[0], abs=1e-4)


def test_a_full_disk_for_logs_costs_lines_and_no_request(repository: Path) -> None:
    quiet = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
    with serving(repository, within=[*mounted(FULL_LOGS), *quiet]) as server:
        known = asyncio.run(learn(port(server), 20))
        with Callers(port(server), known, 16) as tally:
            time.sleep(5)
        assert set(tally.statuses) == {200}
        assert tally.wrong == 0
        assert is_ready(server)
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=5) as metrics:
            (lost,) = re.findall(r"^face_log_lines_lost (\S+)", metrics.read().decode(), re.MULTILINE)
        assert float(lost) > 0


def test_nothing_is_timed_by_the_time_of_day_which_may_jump() -> None:
    """A real jump would be one for everybody on this machine, and what fakes one misleads the kernel's timers.

    But for the deadline that one machine tells another, where no other clock is known to both.
    """
    sources = [path for folder in ("client", "preprocess") for path in (PROJECT / folder).rglob("*.py")]
    told = re.compile(r"\btime\.time(_ns)?\(|\b(now|utcnow|today)\(|from time import")
    timed = {str(path.relative_to(PROJECT)) for path in sources if told.search(path.read_text())}
    assert timed <= {"client/connection.py", "preprocess/serving.py"}
