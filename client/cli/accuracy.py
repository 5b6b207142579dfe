"""How well distances tell one person from two. Pure functions of arrays: `distance` float[n], `same` bool[n].

Two faces are taken for one person where their distance is below the threshold. A false accept is a pair of two people
below it, a false reject a pair of one person that is not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
PARTS = 10  # that a single fold is split into, so that no threshold is tried on the pairs that chose it


@dataclass(frozen=True)
class Operation:
    """A threshold and the shares of pairs that it gets wrong."""

    threshold: float
    false_accepts: float
    false_rejects: float


def error_rates(distance: Floats, same: Bools, threshold: float) -> Operation:
    accepted = distance < threshold
    return Operation(float(threshold), float(accepted[~same].mean()), float(1 - accepted[same].mean()))


def thresholds(distance: Floats) -> Floats:
    """Every threshold that makes a difference: midway between neighbours, and beyond both ends."""
    ordered = np.unique(distance)
    return np.concatenate([[ordered[0] - 1e-3], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1e-3]])


def curve(distance: Floats, same: Bools) -> tuple[Floats, Floats, Floats]:
    """The ROC: thresholds, and the shares of pairs of two people and of one person accepted at each, both rising."""
    steps = thresholds(distance)
    two, one = np.sort(distance[~same]), np.sort(distance[same])
    return steps, np.searchsorted(two, steps) / len(two), np.searchsorted(one, steps) / len(one)


def area(distance: Floats, same: Bools) -> float:
    """The area under the ROC: how often a pair of one person is nearer than a pair of two. Ties count half."""
    two, one = np.sort(distance[~same]), distance[same]
    further = len(two) - np.searchsorted(two, one, "right")
    ties = np.searchsorted(two, one, "right") - np.searchsorted(two, one, "left")
    return float((further + ties / 2).mean() / len(two))


def best_threshold(distance: Floats, same: Bools) -> float:
    """The threshold of highest accuracy; the middle one where several are as good."""
    steps, accepts, hits = curve(distance, same)
    right = hits * same.sum() + (1 - accepts) * (~same).sum()
    best = np.flatnonzero(right >= right.max() - 1e-9)
    return float(steps[best[len(best) // 2]])


def at_false_accepts(distance: Floats, same: Bools, share: float) -> Operation:
    """The largest threshold that accepts at most this share of pairs of two people."""
    steps, accepts, _ = curve(distance, same)
    return error_rates(distance, same, float(steps[np.flatnonzero(accepts <= share)[-1]]))


def equal_errors(distance: Floats, same: Bools) -> Operation:
    """Where false accepts and false rejects are as equal as they get."""
    steps, accepts, hits = curve(distance, same)
    return error_rates(distance, same, float(steps[np.argmin(np.abs(accepts - (1 - hits)))]))


def cross_validated(distance: Floats, same: Bools, fold: NDArray[np.int64]) -> Floats:
    """Accuracy on each fold by the threshold that is best on all others. A single fold is split into PARTS."""
    if len(np.unique(fold)) == 1:
        fold = np.empty(len(same), np.int64)
        for kind in (True, False):
            pairs = np.flatnonzero(same == kind)
            fold[pairs] = np.arange(len(pairs)) * PARTS // len(pairs)
    accuracies = []
    for tested in np.unique(fold):
        out = fold == tested
        threshold = best_threshold(distance[~out], same[~out])
        accuracies.append(np.mean((distance[out] < threshold) == same[out]))
    return np.array(accuracies)
