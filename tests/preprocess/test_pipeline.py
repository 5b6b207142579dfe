import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from preprocess.pipeline import Pipeline

SECONDS = 5.0


class Network:
    """Doubles its numbers when it is told to go on; keeps the sizes of its runs and how many ran side by side."""

    def __init__(self, waits: bool = False) -> None:
        self.sizes: list[int] = []
        self.running = self.most_running = 0
        self.go_on = threading.Semaphore(0 if waits else 1000)
        self._counting = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self._counting:
            self.sizes.append(len(batch))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        assert self.go_on.acquire(timeout=SECONDS)
        with self._counting:
            self.running -= 1
        return batch * 2


class Answers(dict[int, object]):
    def __call__(self, part: int, rows: object) -> None:
        assert part not in self, "answered twice"
        self[part] = rows


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def rows(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_rows_come_back_in_their_order(lanes: int, count: int) -> None:
    pipeline = Pipeline(Network(), lanes, portion=2)
    np.testing.assert_array_equal(pipeline(rows(*range(count))), rows(*range(count)) * 2)


def test_each_part_of_a_batch_gets_its_own_rows() -> None:
    parts, answers = [rows(1, 2, 3), rows(4), rows(5, 6)], Answers()
    Pipeline(Network(), lanes=2, portion=2).submit(parts, answers)
    until(lambda: len(answers) == 3)
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(answers[number], part * 2)


def test_a_batch_is_shared_out_over_the_free_lanes_in_portions() -> None:
    network = Network()
    for count, sizes in ((7, [1, 2, 2, 2]), (4, [2, 2]), (3, [1, 1, 1]), (2, [1, 1])):
        network.sizes.clear()
        Pipeline(network, lanes=2, portion=2)(rows(*range(count)))
        assert sorted(network.sizes) == sizes


def test_one_item_alone_gets_all_cores_and_no_other_does() -> None:
    network, alone = Network(), Network()
    pipeline = Pipeline(network, lanes=2, portion=2, alone=alone)
    pipeline(rows(1))
    assert (network.sizes, alone.sizes) == ([], [1])
    pipeline(rows(1, 2))
    assert alone.sizes == [1]


def test_the_next_batch_begins_while_the_last_one_runs() -> None:
    network = Network(waits=True)
    pipeline, answers = Pipeline(network, lanes=2, portion=2, alone=Network()), Answers()
    first = threading.Thread(target=pipeline.submit, args=([rows(1, 2)], answers))
    first.start()
    until(lambda: network.running == 2)
    first.join(0.05)
    assert first.is_alive(), "no lane is free, and it says there is"
    network.go_on.release()
    first.join(SECONDS)
    assert not first.is_alive(), "a lane is free, and it does not say so"
    second = threading.Thread(target=pipeline.submit, args=([rows(4)], lambda part, found: None))
    second.start()
    until(lambda: network.running == 2)
    network.go_on.release(3)
    until(lambda: 0 in answers)
    second.join(SECONDS)
    assert not second.is_alive()
    assert network.most_running == 2


def test_a_failure_reaches_the_parts_that_it_met_and_no_others() -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        if (batch < 0).any():
            raise ValueError("negative")
        return batch

    answers = Answers()
    pipeline = Pipeline(network, lanes=1, portion=1)
    pipeline.submit([rows(1), rows(-1, 2), rows(3)], answers)
    until(lambda: len(answers) == 3)
    assert isinstance(answers[1], ValueError)
    np.testing.assert_array_equal(answers[0], rows(1))
    np.testing.assert_array_equal(answers[2], rows(3))
    with pytest.raises(ValueError, match="negative"):
        pipeline(rows(-1))
    np.testing.assert_array_equal(pipeline(rows(4)), rows(4))


def test_many_threads_may_call_it_at_once() -> None:
    pipeline = Pipeline(Network(), lanes=2, portion=2, alone=Network())
    wrong = []

    def ask(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(pipeline(rows(number, number + 1)), rows(number, number + 1) * 2):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert wrong == []
