"""Keeps the cores busy with one network: a batch begins as soon as a core is free, not when the last batch has ended.

Threads that share one run wait for each other after every layer, and threads that share one batch at its end. So each
thread takes a portion of a batch through the network by itself, and goes on with the next batch meanwhile.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Event, Lock

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Array], Array]
"""float32[n, ...] -> float32[n, d], one row an item."""
Done = Callable[[int, Array | Exception], None]


class Pipeline:
    """A network, float32[n, ...] -> float32[n, d], on so many lanes side by side; it may be called from any thread.

    run: the network in one lane, called from `lanes` threads at once
    portion: the most items of one run
    alone: the network on all cores, for one item while nothing else runs
    """

    def __init__(self, run: Run, lanes: int = 1, portion: int = sys.maxsize, alone: Run | None = None) -> None:
        self._run, self._alone = run, alone
        self._lanes, self._portion = lanes, portion
        self._free = lanes
        self._freed = Condition()
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")

    def __call__(self, batch: Array) -> Array:
        """The network's answer; raises what the network raises."""
        answers: list[Array | Exception] = []
        answered = Event()

        def done(part: int, rows: Array | Exception) -> None:
            answers.append(rows)
            answered.set()

        self.submit([batch], done)
        answered.wait()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def submit(self, parts: Sequence[Array], done: Done) -> None:
        """Begin a batch made of parts, each float32[m, ...] with m >= 1; returns once a lane is free for another batch.

        done: told, from some thread, the number of each part and its rows, or what the network raised
        """
        batch = _Batch(parts, done)
        if self._alone and len(batch.rows) == 1 and self._take(self._lanes):
            self._go(batch, 0, 1, self._alone, self._lanes)
            return
        count = len(batch.rows)
        size = min(self._portion, max(count // self._lanes, 1))  # few go one by one: each is done sooner
        for start in range(0, count, size):
            with self._freed:
                self._freed.wait_for(lambda: self._free)
                self._free -= 1
            self._pool.submit(self._go, batch, start, min(start + size, count), self._run, 1)
        with self._freed:
            self._freed.wait_for(lambda: self._free)

    def _take(self, lanes: int) -> bool:
        """Take so many lanes if they are free now."""
        with self._freed:
            free = self._free >= lanes
            self._free -= lanes if free else 0
            return free

    def _go(self, batch: "_Batch", start: int, stop: int, run: Run, lanes: int) -> None:
        """Run a portion on lanes that were taken for it."""
        result: Sequence[Array | Exception]
        try:
            result = list(run(batch.rows[start:stop]))
        except Exception as error:  # whatever it is, those who wait for these items must hear of it
            result = [error] * (stop - start)
        with self._freed:
            self._free += lanes
            self._freed.notify_all()
        batch.fill(start, result)


class _Batch:
    """Rows on their way through the network, and the parts that they belong to."""

    def __init__(self, parts: Sequence[Array], done: Done) -> None:
        self.rows = np.concatenate(parts)  # a copy: the parts' memory may be another's before a lane comes to them
        self._done = done
        self._part = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._missing = np.bincount(self._part)
        self._results: list[Array | Exception | None] = [None] * len(self.rows)
        self._filling = Lock()

    def fill(self, start: int, results: Sequence[Array | Exception]) -> None:
        """Take in the results of the rows from `start` on, and answer the parts that are now whole."""
        stop = start + len(results)
        with self._filling:
            self._results[start:stop] = results
            parts, count = np.unique(self._part[start:stop], return_counts=True)
            self._missing[parts] -= count
            whole = parts[self._missing[parts] == 0]
        for part in whole:
            rows = [self._results[row] for row in np.flatnonzero(self._part == part)]
            failed = next((row for row in rows if isinstance(row, Exception)), None)
            self._done(int(part), failed or np.stack(rows))
