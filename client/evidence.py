"""What shows that a model which leaves its question unanswered is busy, and does not hang.

Callers stand before a question in the queue. The gateway knows its own; of those who call Triton themselves, Triton's
count of answers tells.
"""

import math
import time
from collections.abc import Iterable, Mapping

from .canary import LONGEST_ANSWER_SECONDS, QUESTIONS, Health


class Evidence:
    """When the models of one Triton, by name, were asked and seen to answer, by time.monotonic()."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}  # when each last answered a caller of ours
        self._awaited: dict[str, float] = {}  # since when callers of ours wait for one that has not answered any since
        self._at_work: dict[str, float] = {}  # when each last answered anybody but our questions
        self._counts: dict[str, int] = {}  # of those answers, at their highest
        self._lost: set[str] = set()  # questions whose time was over, until one is answered

    def asked(self, model: str) -> None:
        """A caller of ours waits for this model."""
        self._awaited.setdefault(model, time.monotonic())

    def answered(self, model: str) -> None:
        """The model answered a caller of ours."""
        self._awaited.pop(model, None)
        self._answered[model] = time.monotonic()

    def counted(self, counts: Mapping[str, int]) -> None:
        """How many requests each model has answered so far, our questions left out.

        Triton counts an answer just after it has sent it, so a count may lack our own: one that falls and rises again
        is nobody's answer.
        """
        for model, count in counts.items():
            before = self._counts.setdefault(model, count)
            if count > before:
                self._at_work[model], self._counts[model] = time.monotonic(), count

    def silent(self, health: Mapping[str, Health], asked: float) -> set[str]:
        """The questions that have no answer, of all that are under way or were asked at this moment."""
        for model in (model for model, found in health.items() if found is Health.WELL):
            for proved in QUESTIONS[model].proved_by & self._awaited.keys():
                self._awaited[proved] = asked
        over = {model for model, found in health.items() if found is Health.UNANSWERED}
        silent = {model for model, found in health.items() if found is Health.SILENT} | over
        self._lost = self._lost & silent | over
        return silent

    def busy(self, model: str, moment: float) -> bool:
        """Whether others had answers since then; or had them lately, or wait, where one may well take long.

        The latter only while the question may still be behind them: their answers do not prove each process of it.
        """
        question, lately = QUESTIONS[model], time.monotonic() - LONGEST_ANSWER_SECONDS
        if any(_since(moment, seen, question.proved_by) for seen in (self._answered, self._at_work)):
            return True
        slowed = any(_since(lately, seen, question.slowed_by) for seen in (self._at_work, self._awaited))
        return slowed and model not in self._lost


def _since(moment: float, seen: Mapping[str, float], models: Iterable[str]) -> bool:
    """Whether one of these models was seen after this moment."""
    return any(seen.get(model, -math.inf) > moment for model in models)
