"""What tells a model that hangs from one at work; tests/faults stops a real one and overfills a real queue."""

from pathlib import Path

import pytest

from client.embedded import EmbeddedTriton, Ports
from client.stubs import ENDLESS_LOOKS, GONE_LOOKS, HUNG_LOOKS, METRIC, Stubs, Work


def found(*seen: Work) -> str | None:
    """What is said of a detector after these looks."""
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    return [models.judge({"face_detect": work}) for work in seen][-1]


def test_a_model_that_does_nothing_while_requests_wait_hangs() -> None:
    assert found(*[Work(70, 3, waiting=2)] * HUNG_LOOKS) is None
    assert found(*[Work(70, 3, waiting=2)] * (HUNG_LOOKS + 1)) == "face_detect hangs"


def test_a_stopped_model_hangs_though_triton_answers_failures_for_it() -> None:
    assert found(*[Work(70, 3, waiting=2, failed=look) for look in range(HUNG_LOOKS + 1)]) == "face_detect hangs"


def test_a_model_whose_requests_all_run_out_of_time_is_left_alone() -> None:
    looks = [Work(70 + 50 * look, 3, waiting=40, failed=look // (ENDLESS_LOOKS - 2)) for look in range(200)]
    assert found(*looks) is None


def test_a_model_nobody_waits_for_may_rest() -> None:
    assert found(*[Work(70, 3, waiting=0)] * 20) is None


def test_a_model_that_works_long_on_one_request_does_not_hang() -> None:
    assert found(*[Work(70 + 2 * look, 3, waiting=40) for look in range(20)]) is None


def test_a_model_that_works_for_longer_than_it_is_let_work_on_one_request_works_without_an_end() -> None:
    looks = [Work(70 + 50 * look, 3, waiting=1) for look in range(ENDLESS_LOOKS + 1)]
    assert found(*looks[:-1]) is None
    assert found(*looks) == "face_detect works without an end"


def test_a_model_that_is_let_work_to_the_last_moment_on_every_request_is_left_alone() -> None:
    """Nine seconds and the longest step in which Python cannot interrupt it, request after request, others waiting."""
    assert found(*[Work(70 + 50 * look, look // (ENDLESS_LOOKS - 2), waiting=40) for look in range(200)]) is None


def test_a_model_that_answers_with_little_work_does_not_hang() -> None:
    assert found(*[Work(70, answered, waiting=1) for answered in range(20)]) is None


def test_a_model_whose_process_is_gone_has_died() -> None:
    models = Stubs(EmbeddedTriton(Path("nowhere"), Ports()))
    two = {model: Work(70, 3, waiting=0) for model in ("facenet", "face_detect")}
    one = {"face_detect": two["face_detect"]}
    assert [models.judge(now) for now in (two, one, two, *[one] * GONE_LOOKS)][-2:] == [None, "facenet has died"]
    assert models.judge(two) is None


def test_one_sign_of_work_starts_the_count_anew() -> None:
    still = [Work(70, 3, waiting=2)] * HUNG_LOOKS
    assert found(*still, Work(80, 3, waiting=2), *[Work(80, 3, waiting=2)] * (HUNG_LOOKS - 1)) is None


def test_a_model_that_was_started_again_is_another() -> None:
    assert found(*[Work(70, 3, waiting=2)] * HUNG_LOOKS, Work(5, 0, waiting=2)) is None


def test_a_triton_that_does_not_run_has_no_model_that_hangs() -> None:
    assert Stubs(EmbeddedTriton(Path("nowhere"), Ports())).look() is None


@pytest.mark.parametrize("gpu", ["", 'gpu_uuid="GPU-1",'], ids=["cpu", "gpu"])
def test_the_metrics_of_triton_are_read(gpu: str) -> None:
    lines = f"""nv_inference_exec_count{{{gpu}model="face_detect",version="1"}} 12
nv_inference_request_failure{{model="face_detect",reason="OTHER",version="1"}} 3
"""
    assert METRIC.findall(lines) == [("exec_count", "face_detect", "12"), ("request_failure", "face_detect", "3")]
