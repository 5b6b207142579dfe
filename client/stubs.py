"""What the launcher sees of its Triton's models, twice a second: which has died, which hangs, which too many wait for.

Triton 2.51 takes a model for ready whose Python process died or hangs. Each process keeps a record of its calls
(preprocess/watched.py), and the kernel one of its processor time. Whoever is stopped or waits for a lock gains no
processor time; whoever works does, however slowly. So a process hangs when it is stopped, or does not work though a
call of it is under way or requests wait before its model, of which it takes none. One that works hangs when the same
call is under way for longer than it is let work, or its main thread computes for longer than any step of a library
takes and gives no sign (preprocess/serving.py). A model may have several processes, of which each is seen apart.

Triton's own bound for what waits (`default_queue_policy`) costs half a second now and then: with one it does not wake
up for a request that comes while the model is at work. So a file of the model's name tells the model to refuse what
waits.
"""

import contextlib
import http.client
import re
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from client.embedded import DIRECT, EmbeddedTriton

HUNG_LOOKS = 4  # in a row, two a second, without work
GONE_LOOKS = 2  # a list of processes that is read while one comes or goes may lack another
MOST_WAITING = 256  # before one model: as many as two cores answer in a deadline
RESTING_TICKS = 1  # hundredths of a second that a waiting process may use between two looks
# Calls begun so far; until when the one under way must be over, of time.monotonic(), or 0; how much processor time its
# main thread may have used up by then or by its next sign.
CALLS = struct.Struct("=qdd")
TICKS = 100  # a second, of the kernel's processor times
METRIC = re.compile(r'nv_inference_pending_request_count\{[^}]*model="([^"]+)"[^}]*\} (\S+)')


@dataclass(frozen=True)
class Work:
    """What a process of a model has done since it was started, and how many requests wait before the model.

    ticks: of processor time; calls: of Triton's, begun so far; left: seconds that the one under way may still take, of
    the clock or of its main thread's processor time until its next sign, or None; stopped: by a signal
    """

    model: str
    ticks: int
    calls: int
    left: float | None
    waiting: int
    stopped: bool = False


class Stubs:
    """The models' Python processes of a Triton since its last start, to be looked at again and again."""

    def __init__(self, triton: EmbeddedTriton) -> None:
        self._triton = triton
        self._last: dict[int, Work] = {}
        self._idle: Counter[int] = Counter()
        self._gone: Counter[int] = Counter()
        self._at_work: set[str] = set()

    def at_work(self, models: Set[str]) -> bool:
        """Whether one of these models was at work in the last look."""
        return not self._at_work.isdisjoint(models)

    def look(self) -> str | None:
        """Have models refuse before which too many wait; what is wrong with a model, if anything is."""
        if self._triton.process is None:
            return None
        waiting = _waiting(self._triton)
        processes = _processes(self._triton.process.pid)
        now = {pid: work_of(pid, model, waiting[model], self._triton.watched) for pid, model in processes}
        for model in {work.model for work in now.values()}:
            _bound(self._triton.watched / model, waiting[model])
        return self.judge(now)

    def judge(self, now: dict[int, Work]) -> str | None:
        """What is wrong with a model, from what was seen of each process, by its id."""
        before = self._last
        self._at_work = {work.model for pid, work in now.items() if _works(before.get(pid), work)}
        self._idle = _counted(self._idle, {pid for pid in now.keys() & before.keys() if _idle(before[pid], now[pid])})
        self._gone = _counted(self._gone, before.keys() - now.keys())
        self._last = before | now
        endless = [pid for pid, work in now.items() if work.left is not None and work.left < 0]
        for wrong, pids in (
            ("hangs", _seen(self._idle, HUNG_LOOKS)),
            ("works without an end", endless),
            ("has died", _seen(self._gone, GONE_LOOKS)),
        ):
            for pid in pids:
                return f"{self._last[pid].model} {wrong}"
        return None


def _counted(times: Counter[int], seen: Set[int]) -> Counter[int]:
    """In how many looks without a break a process was seen so."""
    return Counter({pid: times[pid] + 1 for pid in seen})


def _seen(times: Counter[int], looks: int) -> Iterable[int]:
    return [pid for pid, count in times.items() if count >= looks]


def _idle(before: Work, now: Work) -> bool:
    """Whether a process did nothing that has something to do, or may be given it at any moment and not notice."""
    asked = now.left is not None or now.waiting > 0 or now.stopped
    return asked and now.calls == before.calls and 0 <= now.ticks - before.ticks <= RESTING_TICKS


def _works(before: Work | None, now: Work) -> bool:
    """Whether a call of a process is under way, or has been since it was seen before."""
    return now.left is not None or (before is not None and now.calls > before.calls)


def _bound(refuse: Path, waiting: int) -> None:
    """Leave or remove the file that has a model refuse."""
    with contextlib.suppress(OSError):  # Triton ends in this moment
        if waiting > MOST_WAITING:
            refuse.touch()
        else:
            refuse.unlink(missing_ok=True)


def _waiting(triton: EmbeddedTriton) -> Counter[str]:
    """How many requests wait before each model; none where Triton does not tell."""
    url = f"http://{triton.host}:{triton.ports.metrics}/metrics"
    numbers: Counter[str] = Counter()
    with contextlib.suppress(OSError, http.client.HTTPException), DIRECT.open(url, timeout=1) as answer:
        for model, number in METRIC.findall(answer.read().decode()):
            numbers[model] += int(float(number))
    return numbers


def _processes(server: int) -> Iterator[tuple[int, str]]:
    """The id and the model of each of the models' Python processes: children of tritonserver."""
    for child in _read(Path(f"/proc/{server}/task/{server}/children")).split():
        arguments = _read(Path("/proc", child.decode(), "cmdline")).split(b"\0")
        if len(arguments) > 1 and arguments[1].endswith(b"/model.py"):  # a dead one has no arguments
            yield int(child), Path(arguments[1].decode()).parts[-3]


def work_of(pid: int, model: str, waiting: int, records: Path) -> Work:
    """What the kernel and the process itself tell of its work."""
    process = Path("/proc", str(pid))
    state, ticks = _processor_time(process / "stat")
    _, of_main_thread = _processor_time(process / "task" / str(pid) / "stat")
    now = time.monotonic()
    record = _read(records / str(pid))  # last: a sign that comes meanwhile counts
    calls, until, most = CALLS.unpack(record) if len(record) == CALLS.size else (0, 0.0, 0.0)
    return Work(
        model,
        ticks=ticks,
        calls=calls,
        left=min(until - now, most - of_main_thread / TICKS) if until else None,
        waiting=waiting,
        stopped=state == b"T",
    )


def _processor_time(stat: Path) -> tuple[bytes, int]:
    """The state of a process or thread, and its ticks as user and as system."""
    fields = _read(stat).rpartition(b")")[2].split()
    return (fields[0], int(fields[11]) + int(fields[12])) if fields else (b"", 0)


def _read(file: Path) -> bytes:
    """A file's bytes; none where the process has gone."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
