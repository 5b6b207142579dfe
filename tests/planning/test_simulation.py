"""The simulation that docs/capacity.md rests on, where theory knows the answer."""

import pytest

from scripts.planning.simulation import Outcome, Times, arriving, closed

DETECTOR_ONLY = Times(detect=0.05, embed=0.0, embed_face=0.0, rest=0.0, gateway=0.0)


def test_photos_that_arrive_by_chance_wait_as_queueing_theory_says():
    """One server of fixed time: the mean wait is half of rho / (1 - rho) service times (Pollaczek and Khinchine)."""
    waits = [arriving(DETECTOR_ONLY, 1, rate, 4000.0).mean - 0.05 for rate in (10.0, 16.0)]
    assert waits == pytest.approx([0.05 * 0.5 / 0.5 / 2, 0.05 * 0.8 / 0.2 / 2], rel=0.1)


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_enough_callers_keep_every_core_at_work(replicas):
    times = Times(detect=0.03, embed=0.001, embed_face=0.02, rest=0.002, gateway=0.003, caller=0.001)
    most = replicas / (0.03 + 0.02 + 0.002 + 0.003 + 0.001)
    assert closed(times, replicas, 8 * replicas, 30.0).rate == pytest.approx(most, rel=0.03)


def test_one_caller_waits_for_the_work_and_nothing_else():
    times = Times(detect=0.03, embed=0.001, embed_face=0.02, rest=0.002, gateway=0.003)
    assert closed(times, 2, 1, 30.0).p99 == pytest.approx(0.056, rel=0.01)


def test_faces_that_wait_share_a_batch():
    """A batch costs 0.1 s whatever its size: of eight callers four are in it, while the others wait for the next."""
    times = Times(detect=0.001, embed=0.1, embed_face=0.0, rest=0.0, gateway=0.0)
    assert closed(times, 1, 8, 30.0).rate == pytest.approx(4 / 0.1, rel=0.1)


def test_no_answer_is_no_speed():
    assert Outcome.of([], 10.0) == Outcome(0.0, float("inf"), float("inf"), float("inf"))
