"""Tells a model's Python process that hangs from one that works long: Triton 2.51 takes both for ready.

Whoever is stopped or waits for a lock gains no processor time; whoever works does, however slowly. So a model hangs
when requests wait before it and its process neither answers any nor works. One that works and never comes to an end
is left to the canary.
"""

import contextlib
import http.client
import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from client.embedded import EmbeddedTriton

LOOKS = 4  # in a row, without answer or work; the supervisor looks twice a second
RESTING_TICKS = 1  # hundredths of a second that a waiting process may use between two looks
METRIC = re.compile(r'nv_inference_(pending_request|exec)_count\{[^}]*model="([^"]+)"[^}]*\} (\S+)')


@dataclass(frozen=True)
class Work:
    """What a model has done since it was loaded, and how many requests wait before it."""

    ticks: int
    answered: int
    waiting: int


class HungModels:
    """Finds the models of one Triton that hang; to be asked again and again."""

    def __init__(self, triton: EmbeddedTriton) -> None:
        self._triton = triton
        self._last: dict[str, Work] = {}
        self._idle: Counter[str] = Counter()

    def look(self) -> str | None:
        """A model that hangs, if there is one."""
        return self.judge(_work(self._triton))

    def judge(self, now: dict[str, Work]) -> str | None:
        """The same from what was seen of each model."""
        idle = {model for model, work in now.items() if model in self._last and _idle(self._last[model], work)}
        self._idle = Counter({model: self._idle[model] + 1 for model in idle})
        self._last = now
        return next((model for model, looks in self._idle.items() if looks >= LOOKS), None)


def _idle(before: Work, now: Work) -> bool:
    resting = 0 <= now.ticks - before.ticks <= RESTING_TICKS
    return now.waiting > 0 and now.answered == before.answered and resting


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
        model: Work(ticks, numbers["exec", model], numbers["pending_request", model])
        for model, ticks in _ticks(triton.process.pid).items()
    }


def _ticks(triton: int) -> Counter[str]:
    """Processor time, in hundredths of a second, of each model's Python processes: children of tritonserver."""
    found: Counter[str] = Counter()
    with contextlib.suppress(OSError, IndexError):
        for child in Path(f"/proc/{triton}/task/{triton}/children").read_text().split():
            arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if len(arguments) > 1 and arguments[1].endswith(b"/model.py"):  # a dead one has none
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                found[Path(arguments[1].decode()).parts[-3]] += int(fields[11]) + int(fields[12])  # user, system
    return found
