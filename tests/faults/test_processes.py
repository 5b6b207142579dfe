"""Processes that die or hang, under load: what was promised of each fault must be seen."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Server, launch
from tests.faults.conftest import Callers, hurt, post, processes, seconds_until

READINESS_SECONDS = 5.0  # until a fault shows
RECOVERY_SECONDS = {"gateway": 10.0}
DEFAULT_RECOVERY_SECONDS = 60.0
DEADLINE_SECONDS = 9.5  # until any caller has an answer


@pytest.fixture(autouse=True)
def well_before(victim: Server) -> None:
    seconds_until(True, victim, 60)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("facenet", signal.SIGKILL),
        ("facenet", signal.SIGSTOP),
        ("arcface_preprocess", signal.SIGKILL),
        ("face_crops", signal.SIGSTOP),
        ("triton", signal.SIGKILL),
        ("triton", signal.SIGSTOP),
        ("gateway", signal.SIGKILL),
        ("gateway", signal.SIGSTOP),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_what_dies_or_hangs_is_noticed_and_normal_again_without_a_person(
    name: str, how: signal.Signals, victim: Server, record_property: pytest.Function
) -> None:
    with Callers(victim.url) as callers:
        time.sleep(2)
        before = processes(victim)[name]
        begun = time.monotonic()
        hurt(victim, name, how)
        noticed = seconds_until(False, victim, READINESS_SECONDS + 1)
        seconds_until(True, victim, RECOVERY_SECONDS.get(name, DEFAULT_RECOVERY_SECONDS))
        recovered = time.monotonic() - begun
        time.sleep(3)
        statuses = dict(callers.statuses)
    print(
        json.dumps(
            {
                "fault": f"{name} {how.name}",
                "noticed": round(noticed, 1),
                "well": round(recovered, 1),
                "slowest": round(callers.slowest, 1),
                "statuses": statuses,
                "wrong": callers.wrong,
            }
        )
    )
    assert noticed <= READINESS_SECONDS
    assert recovered <= RECOVERY_SECONDS.get(name, DEFAULT_RECOVERY_SECONDS)
    assert callers.wrong == 0
    assert callers.slowest <= DEADLINE_SECONDS
    assert callers.last_failure < begun + recovered + 1, "calls still failed after readiness came back"
    assert set(statuses) <= {0, 200, 500, 502, 503, 504}
    assert processes(victim)[name] != before


def test_one_dead_model_leaves_the_others_answering(victim: Server, golden: Path) -> None:
    hurt(victim, "arcface_preprocess", signal.SIGKILL)
    photo = (golden / "images" / "img5.jpg").read_bytes()
    status, _ = post(f"{victim.url}/service/FaceEmbedModelAutoBatch", photo)
    assert status == 200
    seconds_until(False, victim, READINESS_SECONDS)
    seconds_until(True, victim, 60)


def test_a_launcher_that_is_killed_leaves_no_orphan(repository: Path) -> None:
    server = launch(repository)
    pids = set(processes(server).values())
    server.process.kill()
    server.process.communicate()
    assert len(pids) == 9
    deadline = time.monotonic() + 10
    while any(Path("/proc", str(pid)).exists() for pid in pids):
        assert time.monotonic() < deadline, "processes outlive their launcher"
        time.sleep(0.1)
    assert not list(Path("/dev/shm").glob(f"face_{server.process.pid}_*"))
