"""The figures of `evaluate`, against cases worked out by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from client.cli import accuracy

DISTANCE = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 1.0, 1.1, 1.2])
SAME = np.array([True, True, True, True, False, False, False, False])

pairs = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=2, max_size=60).filter(
    lambda found: len({same for _, same in found}) == 2
)


def arrays(found):
    return np.array([step / 20 for step, _ in found]), np.array([same for _, same in found])


def test_error_rates_of_a_threshold():
    found = accuracy.error_rates(DISTANCE, SAME, 0.95)
    assert (found.threshold, found.false_accepts, found.false_rejects) == (0.95, 0.25, 0)


def test_a_distance_at_the_threshold_is_rejected():
    assert accuracy.error_rates(DISTANCE, SAME, 0.9).false_rejects == 0.25


def test_the_best_threshold_separates_as_well_as_any():
    assert accuracy.best_threshold(DISTANCE, SAME) in (pytest.approx(0.35), pytest.approx(0.95))


def test_the_best_threshold_lies_midway_in_a_clean_gap():
    assert accuracy.best_threshold(np.array([0.2, 0.4, 1.0, 1.2]), np.array([True, True, False, False])) == 0.7


def test_no_more_false_accepts_than_asked_for():
    assert accuracy.at_false_accepts(DISTANCE, SAME, 0).false_accepts == 0
    assert accuracy.at_false_accepts(DISTANCE, SAME, 0).false_rejects == 0.25
    assert accuracy.at_false_accepts(DISTANCE, SAME, 0.25).false_rejects == 0


def test_equal_errors_are_equal():
    found = accuracy.equal_errors(DISTANCE, SAME)
    assert found.false_accepts == found.false_rejects == 0.25


@settings(max_examples=200, deadline=None)
@given(pairs)
def test_the_area_is_that_of_scikit_learn_ties_included(found):
    distance, same = arrays(found)
    assert accuracy.area(distance, same) == pytest.approx(roc_auc_score(same, -distance))


@settings(max_examples=200, deadline=None)
@given(pairs)
def test_no_threshold_is_better_than_the_best(found):
    distance, same = arrays(found)

    def right(threshold):
        return np.mean((distance < threshold) == same)

    best = right(accuracy.best_threshold(distance, same))
    assert best == pytest.approx(max(right(threshold) for threshold in np.linspace(-0.1, 2.2, 300)))


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_the_curve_rises_from_nothing_to_everything(found):
    _, accepts, hits = accuracy.curve(*arrays(found))
    assert (accepts[0], hits[0], accepts[-1], hits[-1]) == (0, 0, 1, 1)
    assert (np.diff(accepts) >= 0).all()
    assert (np.diff(hits) >= 0).all()


def test_each_fold_is_tested_with_a_threshold_of_the_others():
    distance = np.array([0.2, 1.0, 0.2, 1.0, 0.9, 1.8])  # in the last fold everything is further away
    same = np.array([True, False] * 3)
    fold = np.array([0, 0, 1, 1, 2, 2])
    assert accuracy.cross_validated(distance, same, fold).tolist() == [1.0, 1.0, 0.5]


def test_a_single_fold_is_split_in_ten_of_both_kinds():
    distance = np.concatenate([np.full(100, 0.5), np.full(100, 1.5)])
    same = np.repeat([True, False], 100)
    found = accuracy.cross_validated(distance, same, np.zeros(200, np.int64))
    assert found.tolist() == [1.0] * 10


def test_fewer_pairs_than_parts_are_split_as_far_as_they_go():
    distance, same = np.array([0.1, 0.2, 1.0, 1.1]), np.array([True, True, False, False])
    assert accuracy.cross_validated(distance, same, np.zeros(4, np.int64)).mean() == 1
