"""What excuses a model that leaves its question unanswered; tests/client/test_replicas.py has the whole of it."""

from types import SimpleNamespace

import pytest

from client import evidence
from client.canary import LONGEST_ANSWER_SECONDS, QUESTIONS, Health
from client.evidence import Evidence

ALL_SILENT = dict.fromkeys(QUESTIONS, Health.SILENT)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(evidence.time, "monotonic", lambda: clock.now)
    return clock


def test_without_answers_and_callers_no_model_is_busy() -> None:
    assert not any(Evidence().busy(model, 0.0) for model in QUESTIONS)


@pytest.mark.parametrize("model", sorted(QUESTIONS))
def test_a_model_that_answered_a_caller_since_it_was_asked_is_busy(model: str, clock: SimpleNamespace) -> None:
    seen = Evidence()
    seen.answered(model)
    assert seen.busy(model, clock.now - 1)
    assert not seen.busy(model, clock.now)


@pytest.mark.parametrize("model", sorted(QUESTIONS))
def test_a_model_whose_count_rises_is_busy(model: str, clock: SimpleNamespace) -> None:
    seen = Evidence()
    seen.counted({model: 7})
    assert not seen.busy(model, 0.0)
    seen.counted({model: 7})
    assert not seen.busy(model, 0.0)
    seen.counted({model: 8})
    assert seen.busy(model, clock.now - 1)


def test_a_count_that_falls_and_rises_again_is_no_answer(clock: SimpleNamespace) -> None:
    """Our own question was answered before it was counted."""
    seen = Evidence()
    for count in (9, 8, 9):
        seen.counted({"face_detect": count})
    assert not seen.busy("face_detect", 0.0)
    seen.counted({"face_detect": 10})
    assert seen.busy("face_detect", 0.0)


def test_a_photo_excuses_its_network_until_the_question_must_have_had_its_turn(clock: SimpleNamespace) -> None:
    seen = Evidence()
    seen.asked("arcface_photo")
    assert seen.silent(ALL_SILENT, clock.now) == set(QUESTIONS)
    assert seen.busy("arcface_embed", clock.now)
    seen.silent(ALL_SILENT | {"arcface_embed": Health.UNANSWERED}, clock.now)
    assert not seen.busy("arcface_embed", clock.now)
    seen.silent(ALL_SILENT, clock.now)  # it is asked anew
    assert not seen.busy("arcface_embed", clock.now)
    seen.silent(ALL_SILENT | {"arcface_embed": Health.WELL}, clock.now)
    assert seen.busy("arcface_embed", clock.now)


def test_who_waits_for_a_photo_excuses_a_slow_model_for_a_while(clock: SimpleNamespace) -> None:
    seen = Evidence()
    seen.asked("face_detect")
    clock.now += LONGEST_ANSWER_SECONDS - 1
    assert seen.busy("face_detect", clock.now)
    clock.now += 2
    assert not seen.busy("face_detect", clock.now)
    seen.answered("face_detect")
    seen.asked("face_detect")
    clock.now += 5
    assert seen.busy("face_detect", clock.now)


def test_who_waits_for_a_fast_model_does_not_excuse_it(clock: SimpleNamespace) -> None:
    seen = Evidence()
    seen.asked("facenet_embed")
    assert not seen.busy("facenet_embed", clock.now)
