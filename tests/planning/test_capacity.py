"""Where scripts/capacity runs what it measures."""

import os
import signal
import sys
from pathlib import Path

import pytest

from scripts.planning import capacity
from scripts.planning.simulation import Outcome, Times

TIMES = Times(detect=0.03, embed=0.001, embed_face=0.02, rest=0.002, gateway=0.003)
OUTCOME = Outcome.of([0.1], 1.0)


@pytest.fixture
def may_run_on(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The cores of this process, as it is told; it may be told others."""
    cores: set[int] = set()

    def bind(process: int, chosen: list[int] | set[int]) -> None:
        cores.clear()
        cores.update(chosen)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(cores))
    monkeypatch.setattr(os, "sched_setaffinity", bind)
    monkeypatch.setattr(sys, "argv", ["capacity"])
    return cores


def test_gateway_and_callers_run_on_the_cores_of_the_tritons_where_that_is_said(
    may_run_on: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[tuple[list[set[int]], set[int]]] = []

    class Replicas:
        def __init__(self, stack: object, *cores: set[int]) -> None:
            started.append((list(cores), set(may_run_on)))  # a gateway and callers inherit the second

        def load(self, photo: bytes, callers: int, seconds: float) -> Outcome:
            assert may_run_on == {3, 5}
            return OUTCOME

    may_run_on.update({9, 7, 5, 3})
    monkeypatch.setattr(capacity, "LOG", tmp_path / "log")
    monkeypatch.setattr(capacity, "Replicas", Replicas)
    monkeypatch.setattr(capacity, "measure", lambda *_: TIMES)
    monkeypatch.setattr(capacity, "closed", lambda *_: OUTCOME)
    monkeypatch.setattr(capacity, "replicas_for", lambda *_: (1, OUTCOME))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    capacity.main()
    assert started == [([{3}], {3, 5, 7, 9}), ([{3}, {5}], {3, 5}), ([{3, 5}], {3, 5})]
    assert may_run_on == {3, 5, 7, 9}
    assert capsys.readouterr().out.count("with gateway and callers on") == 2


def test_a_single_core_is_refused_in_one_line(may_run_on: set[int]) -> None:
    may_run_on.add(4)
    with pytest.raises(SystemExit) as refused:
        capacity.main()
    assert str(refused.value) == (
        "capacity: this takes two cores, and it may run on one only; let it run on more (taskset, a cpuset)"
    )
