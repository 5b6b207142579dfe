"""Threads that share the parts of one photo's work with the thread that asks for it."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """So many threads, the caller's own among them: it need not be woken, and one thread hands nothing over."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._others = ThreadPoolExecutor(threads - 1, thread_name_prefix="worker") if threads > 1 else None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The function's result for each item, in order. An exception of any ends the call, after those under way."""
        if self._others is None:
            return [function(item) for item in items]
        waiting = list(enumerate(items))[::-1]
        results: dict[int, Result] = {}

        def work() -> None:
            while waiting:
                try:
                    place, item = waiting.pop()
                except IndexError:  # another thread has taken the last
                    return
                results[place] = function(item)

        shares: list[Future[None]] = []
        try:
            shares += (self._others.submit(work) for _ in range(min(self.threads, len(waiting)) - 1))
            work()
            for share in shares:
                if not share.cancel():  # it may wait behind another caller's
                    share.result()
        except BaseException:
            waiting.clear()
            running = [share for share in shares if not share.cancel()]
            try:
                wait(running)
            finally:
                wait(running)  # the first may be interrupted
            raise
        return [results[place] for place in range(len(results))]
