from itertools import pairwise

import numpy as np
import pytest

from preprocess import cascade


def test_the_number_of_candidates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "MAX_CANDIDATES", 3)
    scores = np.array([0.9, 0.7, 0.95, 0.6, 0.8], np.float32)
    found, kept, _ = cascade.best(np.arange(5.0)[:, None].repeat(4, 1), scores, np.zeros((5, 4), np.float32))
    assert kept.tolist() == scores[[0, 2, 4]].tolist()
    assert found[:, 0].tolist() == [0, 2, 4]


def test_scores_near_one_are_not_rounded_together() -> None:
    scores = cascade.probability(np.array([-1000, -20, 0, 13, 14, 15, 1000], np.float32))
    assert scores[0] == pytest.approx(0, abs=1e-30)
    assert scores[2] == 0.5
    assert (np.diff(scores) > 0).all()


def test_batches_hold_every_box_once_and_like_sides_together() -> None:
    side = np.random.default_rng(8).integers(20, 300, 101)
    boxes = np.stack([side * 0, side * 0, side, side], axis=1).astype(float)
    parts = cascade.batches(boxes, 24, workers=2)
    assert sorted(np.concatenate(parts)) == list(range(101))
    assert len(parts) % 2 == 0
    assert max(len(part) for part in parts) * 24**2 <= cascade.PIXELS_AT_ONCE
    assert all(side[a].min() >= side[b].max() for a, b in pairwise(parts))


def test_one_box_is_one_batch() -> None:
    assert [part.tolist() for part in cascade.batches(np.array([[1.0, 1, 9, 9]]), 48, workers=4)] == [[0]]
