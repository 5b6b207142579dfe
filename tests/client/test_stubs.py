"""What tells a model that hangs from one at work; tests/faults stops a real one and overfills a real queue."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from client.embedded import EmbeddedTriton, Ports
from client.stubs import GONE_LOOKS, HUNG_LOOKS, METRIC, Stubs, Work, work_of
from preprocess.watched import Watched


def detector(
    ticks: int = 70, calls: int = 3, left: float | None = None, waiting: int = 0, stopped: bool = False
) -> Work:
    return Work("face_detect", ticks, calls, left, waiting, stopped)


def found(*seen: Work) -> str | None:
    """What is said of a detector after these looks."""
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    return [models.judge({1: work}) for work in seen][-1]


@pytest.mark.parametrize(
    "asked",
    [detector(left=0.5), detector(waiting=2), detector(stopped=True)],
    ids=["in a call", "before one", "which it would not notice"],
)
def test_a_process_that_does_nothing_though_it_is_asked_hangs(asked: Work) -> None:
    assert found(*[asked] * HUNG_LOOKS) is None
    assert found(*[asked] * (HUNG_LOOKS + 1)) == "face_detect hangs"


@pytest.mark.parametrize(
    ("last", "at_work"),
    [
        (detector(), False),
        (detector(left=3.0), True),
        (detector(waiting=1), False),
        (detector(calls=4), True),
    ],
    ids=["idle", "in a call", "asked for one", "done with one"],
)
def test_a_model_at_work_is_told_from_an_idle_one(last: Work, at_work: bool) -> None:
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    for work in (detector(), last):
        models.judge({1: work})
    assert models.at_work({"face_detect", "facenet"}) is at_work
    assert not models.at_work({"facenet"})


def test_a_process_nobody_asks_may_rest() -> None:
    assert found(*[detector()] * 20) is None


def test_a_process_that_works_on_one_request_as_long_as_it_may_does_not_hang() -> None:
    assert found(*[detector(70 + 2 * look, left=14 - look / 2, waiting=40) for look in range(28)]) is None


def test_a_process_that_works_for_longer_on_one_call_works_without_an_end() -> None:
    assert found(detector(left=0.1)) is None
    assert found(detector(left=-0.1)) == "face_detect works without an end"


def test_a_process_that_answers_with_little_work_does_not_hang() -> None:
    assert found(*[detector(calls=calls, waiting=1) for calls in range(20)]) is None


def test_one_sign_of_work_starts_the_count_anew() -> None:
    still = [detector(waiting=2)] * HUNG_LOOKS
    assert found(*still, detector(80, waiting=2), *[detector(80, waiting=2)] * (HUNG_LOOKS - 1)) is None


def test_a_process_that_hangs_is_told_from_its_twin_at_work() -> None:
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    looks = [{1: detector(waiting=9), 2: detector(70 + 40 * look, look, 0.01, waiting=9)} for look in range(5)]
    assert [models.judge(now) for now in looks] == [None] * 4 + ["face_detect hangs"]


def test_a_model_one_of_whose_processes_is_gone_has_died() -> None:
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    two = {1: detector(), 2: detector()}
    assert [models.judge(now) for now in (two, {2: detector()}, two)] == [None] * 3  # only the list was amiss
    assert [models.judge({2: detector()}) for _ in range(GONE_LOOKS)] == [None, "face_detect has died"]


def test_a_triton_that_does_not_run_has_no_model_that_hangs() -> None:
    assert Stubs(EmbeddedTriton(Path("nowhere"), Ports())).look() is None


def test_what_a_process_tells_of_its_calls_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_WATCHED", str(tmp_path))
    watched = Watched("facenet", 30.0)

    def seen() -> Work:
        return work_of(os.getpid(), "facenet", 4, tmp_path)

    assert (seen().calls, seen().left, seen().waiting) == (0, None, 4)
    with watched.call():
        time.sleep(0.02)
        assert seen().calls == 1
        assert 29 < (seen().left or 0) <= 29.98
    assert (seen().calls, seen().left) == (1, None)
    assert seen().ticks > 0


def test_a_process_whose_main_thread_computes_and_gives_no_sign_works_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_WATCHED", str(tmp_path))
    watched = Watched("face_detect", 14.0, silent=0.2)

    def left() -> float:
        return work_of(os.getpid(), "face_detect", 0, tmp_path).left or 0

    def compute(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    with watched.call():
        other = threading.Thread(target=compute, args=(0.3,))  # which the main thread awaits
        other.start()
        other.join()
        assert 0.1 < left() < 0.25
        compute(0.3)
        assert left() < 0
        watched.sign()
        assert 0.1 < left() < 0.25


def test_a_stopped_process_is_seen_to_be_stopped(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not work_of(process.pid, "facenet", 0, tmp_path).stopped
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert work_of(process.pid, "facenet", 0, tmp_path).stopped
        process.kill()


def test_a_process_that_has_just_gone_is_read_as_one_that_never_worked(tmp_path: Path) -> None:
    assert work_of(0, "facenet", 0, tmp_path) == Work("facenet", 0, 0, None, 0)


@pytest.mark.parametrize("gpu", ["", 'gpu_uuid="GPU-1",'], ids=["cpu", "gpu"])
def test_the_metrics_of_triton_are_read(gpu: str) -> None:
    lines = f"""nv_inference_exec_count{{{gpu}model="face_detect",version="1"}} 12
nv_inference_pending_request_count{{{gpu}model="face_detect",version="1"}} 3
"""
    assert METRIC.findall(lines) == [("face_detect", "3")]
