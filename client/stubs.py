"""What the launcher sees of its Triton's models, twice a second: which has died, which hangs, which too many wait for.

Triton 2.51 takes a model for ready whose Python process died or hangs. Whoever is stopped or waits for a lock gains no
processor time; whoever works does, however slowly. So a model hangs when requests wait before it and its process
neither answers any nor works. One that works hangs when it has answered none, not even with a failure, for longer than
it is let work (preprocess/serving.py).

Its own bound for what waits (`default_queue_policy`) costs half a second now and then: with one it does not wake up for
a request that comes while the model is at work. So a file of the model's name tells the model to refuse what waits.
"""

import contextlib
import http.client
import re
import urllib.request
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from client.embedded import EmbeddedTriton

HUNG_LOOKS = 4  # in a row, two a second, without answer or work
ENDLESS_LOOKS = 28  # without an answer: 9 s of work, and the longest step that Python cannot interrupt
GONE_LOOKS = 2  # a list of processes that is read while one comes or goes may lack another
MOST_WAITING = 256  # before one model: as many as two cores answer in a deadline
RESTING_TICKS = 1  # hundredths of a second that a waiting process may use between two looks
METRIC = re.compile(
    r'nv_inference_(pending_request_count|exec_count|request_failure)\{[^}]*model="([^"]+)"[^}]*\} (\S+)'
)


@dataclass(frozen=True)
class Work:
    """What a model has done since it was loaded, and how many requests wait before it."""

    ticks: int
    answered: int
    waiting: int
    failed: int = 0  # among them those that Triton answers itself, before a process that is stopped


class Stubs:
    """The models' Python processes of one Triton, to be looked at again and again."""

    def __init__(self, triton: EmbeddedTriton) -> None:
        self._triton = triton
        self._last: dict[str, Work] = {}
        self._idle: Counter[str] = Counter()
        self._silent: Counter[str] = Counter()
        self._gone: Counter[str] = Counter()

    def look(self) -> str | None:
        """Have models refuse before which too many wait; what is wrong with a model, if anything is."""
        now = _work(self._triton)
        for model, work in now.items():
            _bound(self._triton.overfull / model, work.waiting)
        return self.judge(now)

    def judge(self, now: dict[str, Work]) -> str | None:
        """What is wrong with a model, from what was seen of each."""
        before = self._last
        silent = {model for model, work in now.items() if model in before and _silent(before[model], work)}
        self._silent = _counted(self._silent, {model for model in silent if now[model].failed == before[model].failed})
        self._idle = _counted(self._idle, {model for model in silent if _resting(before[model], now[model])})
        self._gone = _counted(self._gone, before.keys() - now.keys())
        self._last = before | now
        for wrong, seen, looks in (
            ("hangs", self._idle, HUNG_LOOKS),
            ("works without an end", self._silent, ENDLESS_LOOKS),
            ("has died", self._gone, GONE_LOOKS),
        ):
            for model, times in seen.items():
                if times >= looks:
                    return f"{model} {wrong}"
        return None


def _counted(times: Counter[str], seen: Set[str]) -> Counter[str]:
    """In how many looks without a break a model was seen so."""
    return Counter({model: times[model] + 1 for model in seen})


def _silent(before: Work, now: Work) -> bool:
    return now.waiting > 0 and now.answered == before.answered


def _resting(before: Work, now: Work) -> bool:
    return 0 <= now.ticks - before.ticks <= RESTING_TICKS


def _bound(refuse: Path, waiting: int) -> None:
    """Leave or remove the file that has a model refuse."""
    with contextlib.suppress(OSError):  # Triton ends in this moment
        if waiting > MOST_WAITING:
            refuse.touch()
        else:
            refuse.unlink(missing_ok=True)


def _work(triton: EmbeddedTriton) -> dict[str, Work]:
    """Each Python model's work; none where Triton does not tell."""
    if triton.process is None:
        return {}
    url = f"http://{triton.host}:{triton.ports.metrics}/metrics"
    numbers: Counter[tuple[str, str]] = Counter()
    with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(url, timeout=1) as answer:
        for kind, model, number in METRIC.findall(answer.read().decode()):
            numbers[kind, model] += int(float(number))
    return {
        model: Work(
            ticks,
            answered=numbers["exec_count", model],
            waiting=numbers["pending_request_count", model],
            failed=numbers["request_failure", model],
        )
        for model, ticks in _ticks(triton.process.pid).items()
    }


def _ticks(triton: int) -> Counter[str]:
    """Processor time, in hundredths of a second, of each model's Python processes: children of tritonserver."""
    found: Counter[str] = Counter()
    for child in _read(f"{triton}/task/{triton}/children").split():
        arguments = _read(f"{child}/cmdline").split("\0")
        fields = _read(f"{child}/stat").rpartition(")")[2].split()
        if fields and len(arguments) > 1 and arguments[1].endswith("/model.py"):  # a dead one has no arguments
            found[Path(arguments[1]).parts[-3]] += int(fields[11]) + int(fields[12])  # user, system
    return found


def _read(file: str) -> str:
    """A file of /proc; empty where the process has gone."""
    try:
        return Path("/proc", file).read_text()
    except OSError:
        return ""
