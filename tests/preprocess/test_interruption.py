"""Work that never ends is ended, and nothing of that touches the work after it."""

import signal
import time

import pytest

from preprocess.interruption import LOOK_EVERY_SECONDS, Interrupted, interruptible


def spin() -> None:
    """Work that takes far longer than it may."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pass


def test_work_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocess.interruption.LOOK_EVERY_SECONDS", 60.0)  # that is, not only at the next look
    begun = time.monotonic()
    with pytest.raises(Interrupted), interruptible(0.1, lambda: True):
        spin()
    assert time.monotonic() - begun >= 0.1


def test_work_ends_soon_after_nobody_waits_for_it() -> None:
    looks = iter([True, True, False])
    with pytest.raises(Interrupted), interruptible(60, lambda: next(looks)):
        spin()
    assert not list(looks)


def test_a_timer_that_runs_out_as_the_work_ends_is_not_set_anew() -> None:
    with interruptible(60, lambda: True):
        look = signal.getsignal(signal.SIGALRM)
    assert callable(look)
    look(signal.SIGALRM, None)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_work_without_any_time_does_not_begin() -> None:
    with pytest.raises(Interrupted), interruptible(-1, lambda: True):
        pytest.fail("it began")


def test_work_that_is_awaited_goes_on_to_its_end() -> None:
    with interruptible(60, lambda: True):
        time.sleep(3 * LOOK_EVERY_SECONDS)


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_comes_after_it_is_left_alone(interrupted: bool) -> None:
    before = signal.getsignal(signal.SIGALRM)
    if interrupted:
        with pytest.raises(Interrupted), interruptible(0.01, lambda: True):
            spin()
    else:
        with interruptible(60, lambda: True):
            pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before
    time.sleep(0.05)
