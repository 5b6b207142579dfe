import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from preprocess.interruption import Interrupted, interruptible
from preprocess.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_results_come_in_the_order_of_the_items(threads: int, count: int) -> None:
    assert Workers(threads).map(lambda number: number * number, range(count)) == [n * n for n in range(count)]


def test_as_many_threads_work_at_a_time_as_there_are() -> None:
    together = threading.Barrier(3, timeout=10)
    used = Workers(3).map(lambda _: (together.wait(), threading.get_ident())[1], range(3))
    assert len(set(used)) == 3
    assert threading.get_ident() in used


def test_one_thread_is_the_callers() -> None:
    assert set(Workers(1).map(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_ends_the_call_and_leaves_the_workers_fit(threads: int) -> None:
    workers = Workers(threads)
    for bad in range(6):
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda number, bad=bad: 1 // (number - bad), range(6))
    assert workers.map(str, range(3)) == ["0", "1", "2"]


def test_callers_do_not_wait_for_each_others_work() -> None:
    workers, held = Workers(2), threading.Event()
    with ThreadPoolExecutor(1) as caller:
        slow = caller.submit(workers.map, lambda _: held.wait(10), range(2))  # holds the only other thread
        assert workers.map(str, range(20)) == [str(number) for number in range(20)]
        held.set()
        assert slow.result() == [True, True]


@pytest.mark.parametrize("own_is_bad", [False, True])
def test_a_call_that_is_interrupted_as_it_waits_leaves_no_thread_at_work(own_is_bad: bool) -> None:
    caller, both, done = threading.get_ident(), threading.Barrier(2, timeout=10), []

    def work(_: int) -> None:
        both.wait()
        if threading.get_ident() != caller:
            time.sleep(1.5)
            done.append("the other thread")
        elif own_is_bad:
            raise ZeroDivisionError

    with pytest.raises(Interrupted), interruptible(0.5, lambda: True):
        Workers(2).map(work, range(2))
    assert done == ["the other thread"]
