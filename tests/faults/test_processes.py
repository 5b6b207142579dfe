"""Processes that die or hang, under load: what was promised of each fault must be seen."""

import contextlib
import io
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Server, launch
from tests.faults.conftest import (
    CALLERS,
    READINESS_SECONDS,
    Callers,
    hurt,
    is_ready,
    port,
    post,
    processes,
    seconds_until,
)
from tests.load.callers import Known

RECOVERY_SECONDS = {"gateway": 10.0}
DEFAULT_RECOVERY_SECONDS = 60.0
DEADLINE_SECONDS = 9.5  # until any caller has an answer
KILL, STOP = signal.SIGKILL, signal.SIGSTOP

FAULTS = {
    "FaceNet's process killed": ("facenet", KILL),
    "FaceNet's process stopped": ("facenet", STOP),
    "ArcFace's preprocessing killed": ("arcface_preprocess", KILL),
    "ArcFace's preprocessing stopped, callers waiting": ("arcface_preprocess", STOP),
    "photo cropper stopped, nobody waiting": ("face_crops", STOP),
    "detector stopped, callers waiting": ("face_detect", STOP),
    "Triton killed": ("triton", KILL),
    "Triton stopped": ("triton", STOP),
    "gateway killed": ("gateway", KILL),
    "gateway stopped": ("gateway", STOP),
}
ALWAYS = {"FaceNet's process stopped", "detector stopped, callers waiting", "Triton killed", "gateway killed"}
WAITING = {"face_detect": "/service/FaceDetectionModel", "arcface_preprocess": "/service/InsightFaceModel"}


@pytest.fixture(autouse=True)
def well_before(victim: Server) -> None:
    seconds_until(True, victim, 60)


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture of 25 Mpixel full of corners: the detector's longest work."""
    coarse = np.random.default_rng(0).integers(0, 255, (400, 500, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((5000, 5000)).save(file, "JPEG", quality=40)
    return file.getvalue()


@contextlib.contextmanager
def asking(url: str, picture: bytes, callers: int) -> Iterator[None]:
    """So many more callers, who send one picture again and again."""
    going = threading.Event()

    def call() -> None:
        while not going.is_set():
            post(url, picture)
            time.sleep(0.1)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        going.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "fault", [fault if fault in ALWAYS else pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTS]
)
def test_what_dies_or_hangs_is_noticed_and_normal_again_without_a_person(
    fault: str, victim: Server, known: Known, make_picture: Callable[..., bytes], record_property: Callable[..., None]
) -> None:
    name, how = FAULTS[fault]
    allowed = RECOVERY_SECONDS.get(name, DEFAULT_RECOVERY_SECONDS)
    with contextlib.ExitStack() as load:
        others = 2 if "callers waiting" in fault else 0  # as many as may be in flight, all together
        load.enter_context(asking(victim.url + WAITING.get(name, ""), make_picture(), others))
        tally = load.enter_context(Callers(port(victim), known, CALLERS - others))
        time.sleep(2)
        before = processes(victim)[name]
        begun = time.monotonic()
        hurt(victim, name, how)
        noticed = seconds_until(False, victim, READINESS_SECONDS + 1)
        seconds_until(True, victim, allowed)
        recovered = time.monotonic() - begun
        time.sleep(3)
    statuses = tally.statuses
    right = statuses.pop(200) - tally.wrong
    seconds = [round(value, 1) for value in (noticed, recovered, tally.slowest)]
    record_property(
        "row", (fault, f"{READINESS_SECONDS:.0f}, {allowed:.0f}", *seconds, right, tally.wrong, sum(statuses.values()))
    )
    assert noticed <= READINESS_SECONDS
    assert recovered <= allowed
    assert (tally.wrong, tally.swapped) == (0, 0)
    assert tally.slowest <= DEADLINE_SECONDS
    assert tally.last_failure < begun + recovered + 1, "calls still failed after readiness came back"
    assert set(statuses) <= {0, 500, 502, 503, 504}
    assert processes(victim)[name] != before


@pytest.mark.slow
def test_a_detector_at_work_on_large_photos_is_left_alone(victim: Server, large: bytes) -> None:
    before = processes(victim)
    with asking(victim.url + WAITING["face_detect"], large, 6):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert is_ready(victim)
            time.sleep(0.1)
    assert processes(victim) == before


def test_one_dead_model_leaves_the_others_answering(victim: Server, golden: Path) -> None:
    hurt(victim, "arcface_preprocess", signal.SIGKILL)
    photo = (golden / "images" / "img5.jpg").read_bytes()
    status, _ = post(f"{victim.url}/service/FaceEmbedModelAutoBatch", photo)
    assert status == 200
    seconds_until(False, victim, READINESS_SECONDS)
    seconds_until(True, victim, 60)


def folders() -> set[Path]:
    """Those that Tritons of ours keep while they run."""
    return set(Path(tempfile.gettempdir()).glob("face-triton-*"))


def test_a_launcher_that_is_killed_leaves_no_orphan(repository: Path) -> None:
    before = folders()
    server = launch(repository)
    pids = set(processes(server).values())
    hurt(server, "facenet", signal.SIGSTOP)  # as one is that waits for tritonserver
    server.process.kill()
    server.process.communicate()
    assert len(pids) == 9
    deadline = time.monotonic() + 10
    while any(Path("/proc", str(pid)).exists() for pid in pids) or folders() - before:
        assert time.monotonic() < deadline, "processes or files outlive their launcher"
        time.sleep(0.1)
    assert not list(Path("/dev/shm").glob(f"face_{server.process.pid}_*"))
