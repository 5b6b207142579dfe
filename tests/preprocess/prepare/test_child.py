"""Steps in a process of their own."""

import os
import signal
import sys
import time

import pytest

from preprocess.prepare import child
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError


def double(number: int) -> int:
    print("chatter")
    print("more chatter", file=sys.stderr)
    return 2 * number


def refuse() -> None:
    raise PreparationError("the reason")


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device", "weights.bin")


def fail_like_a_framework() -> None:
    raise RuntimeError("first line\nsecond line")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def take_all_memory() -> None:
    bytes(child.MEMORY)


def test_a_result_comes_back_and_chatter_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    assert in_child(double, 21) == 42
    assert capfd.readouterr() == ("", "")


def test_a_refusal_and_a_full_disk_come_back_as_they_are() -> None:
    with pytest.raises(PreparationError, match=r"^the reason$"):
        in_child(refuse)
    with pytest.raises(OSError, match="No space left") as error:
        in_child(fill_the_disk)
    assert error.value.filename == "weights.bin"


def test_whatever_else_fails_becomes_one_line() -> None:
    with pytest.raises(PreparationError, match=r"^RuntimeError: first line$"):
        in_child(fail_like_a_framework)


def test_a_crash_is_a_failure_of_this_step_alone() -> None:
    with pytest.raises(PreparationError, match="'crash' was killed"):
        in_child(crash)


def test_a_step_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SECONDS", 1)
    with pytest.raises(PreparationError, match="'sleep' took longer than"):
        in_child(time.sleep, 60)


def test_a_step_cannot_take_the_whole_machines_memory() -> None:
    with pytest.raises(PreparationError, match="MemoryError"):
        in_child(take_all_memory)
