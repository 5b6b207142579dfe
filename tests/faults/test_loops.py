"""A detector that never comes to the end of a picture, under load.

A loop of Python is ended by the model itself, one in a library by the launcher.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.faults.conftest import READINESS_SECONDS, Callers, is_ready, port, post, processes, seconds_until
from tests.load.callers import Known, Tally

DETECT = "/service/FaceDetectionModel"
PYTHON, LIBRARY = (31, 31), (37, 37)  # sizes of the pictures that it never comes to the end of
LOOPS = f"""

import itertools

_detect = mtcnn.detect


def _endless(picture, *others):
    while picture.shape[:2] == {PYTHON}:
        pass
    if picture.shape[:2] == {LIBRARY}:
        sum(itertools.repeat(0))
    return _detect(picture, *others)


mtcnn.detect = _endless
"""


@pytest.fixture(scope="module")
def victim(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose detector has these two loops."""
    looping = tmp_path_factory.mktemp("looping") / "models"
    shutil.copytree(repository, looping)
    model = looping / "face_detect" / "1" / "model.py"
    model.write_text(model.read_text() + LOOPS)
    with serving(looping) as running:
        yield running


@contextmanager
def asked(victim: Server, known: Known, picture: bytes) -> Iterator[tuple[Tally, float]]:
    """Callers who know what they must be told, and when one came whose picture the detector never ends."""
    with Callers(port(victim), known, 62) as tally:
        time.sleep(2)
        caller = threading.Thread(target=post, args=(victim.url + DETECT, picture))
        caller.start()
        yield tally, time.monotonic()
        caller.join()
        time.sleep(3)


def test_a_loop_of_python_costs_its_caller_and_those_behind_him_their_deadline(
    victim: Server, known: Known, make_picture: Callable[..., bytes], record_property: Callable[..., None]
) -> None:
    seconds_until(True, victim, 60)
    before = processes(victim)
    with asked(victim, known, make_picture("PNG", size=PYTHON)) as (tally, begun):
        time.sleep(1)
        while post(victim.url + DETECT, make_picture())[0] != 200:
            assert is_ready(victim)
        recovered = time.monotonic() - begun
    record(record_property, "detector in a loop of Python", "-", recovered, tally)
    assert recovered < 12
    assert processes(victim) == before
    assert tally.wrong == 0


def test_a_loop_in_a_library_is_noticed_and_ended(
    victim: Server, known: Known, make_picture: Callable[..., bytes], record_property: Callable[..., None]
) -> None:
    seconds_until(True, victim, 60)
    before = processes(victim)
    with asked(victim, known, make_picture("PNG", size=LIBRARY)) as (tally, begun):
        used, noticed = used_until_noticed(victim), time.monotonic() - begun
        seconds_until(True, victim, 60)
        recovered = time.monotonic() - begun
        assert post(victim.url + DETECT, make_picture())[0] == 200
    record(record_property, "detector in a loop of a library", round(noticed, 1), recovered, tally)
    # preprocess.serving.STEP_SECONDS, a sign each half second, and what it takes to look and to say so.
    assert used <= 3.5
    assert noticed <= READINESS_SECONDS or used < 0.6 * noticed  # it takes longer where it hardly gets half a core
    assert recovered < 60
    assert processes(victim)["face_detect"] != before["face_detect"]
    assert tally.wrong == 0


def used_until_noticed(victim: Server) -> float:
    """Seconds of processor that the detector in the loop has had when the server is no longer ready."""
    before, used, until = used_by_detectors(), 0.0, time.monotonic() + 3 * READINESS_SECONDS
    while is_ready(victim):
        assert time.monotonic() < until, f"still ready after {used} s of the processor"
        after = used_by_detectors()
        used = max([used, *(after[pid] - before[pid] for pid in after.keys() & before.keys())])
        time.sleep(0.05)
    return used


def used_by_detectors() -> dict[str, float]:
    """Seconds of processor that each process of face_detect has had."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"looping" in (command := (process / "cmdline").read_bytes()) and b"face_detect/1/model.py" in command:
                times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                found[process.name] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return found


def record(record_property: Callable[..., None], fault: str, noticed: object, recovered: float, tally: Tally) -> None:
    """The row of docs/reliability.md."""
    statuses = tally.statuses
    right = statuses.pop(200) - tally.wrong
    seconds = (noticed, round(recovered, 1), round(tally.slowest, 1))
    record_property("row", (fault, "5, 60", *seconds, right, tally.wrong, sum(statuses.values())))
