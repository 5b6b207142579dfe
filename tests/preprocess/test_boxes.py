import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import boxes as box


def one_by_one(boxes: np.ndarray, scores: np.ndarray, threshold: float, over_smaller: bool) -> list[int]:
    """Non-maximum suppression as the original does it: the best, without what it covers, and so on."""
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    order, kept = list(np.argsort(scores, kind="stable")), []
    while order:
        best = order.pop()
        kept.append(best)
        rest = np.array(order, int)
        width = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1)
        height = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1)
        shared = width * height
        whole = np.minimum(area[best], area[rest]) if over_smaller else area[best] + area[rest] - shared
        order = list(rest[shared / whole <= threshold])
    return kept


def random_boxes(count: int, spread: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corner = random.integers(-20, spread, (count, 2))
    size = random.integers(1, 60, (count, 2))
    scores = random.integers(0, 20, count) / 20  # many are equal
    return np.hstack([corner, corner + size]).astype(float), scores.astype(np.float32)


@given(
    count=st.integers(0, 60),
    spread=st.integers(1, 200),
    seed=st.integers(0, 999),
    threshold=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
    over_smaller=st.booleans(),
)
def test_suppression_gives_what_taking_one_box_after_the_other_gives(
    count: int, spread: int, seed: int, threshold: float, over_smaller: bool
) -> None:
    boxes, scores = random_boxes(count, spread, seed)
    found = box.nms(boxes, scores, threshold, over_smaller)
    assert found.tolist() == one_by_one(boxes, scores, threshold, over_smaller)


def test_suppression_is_the_same_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = random_boxes(300, 300, 1)
    whole = box.nms(boxes, scores, 0.3)
    monkeypatch.setattr(box, "PAIRS_AT_ONCE", 50)
    np.testing.assert_array_equal(box.nms(boxes, scores, 0.3), whole)


def test_boxes_of_equal_score_are_taken_last_first() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [100, 0, 109, 9]], float)
    assert box.nms(boxes, np.full(3, 0.5, np.float32), 0.5).tolist() == [2, 1]


def test_a_chain_keeps_every_second_box() -> None:
    left = np.arange(0, 200, 5.0)
    boxes = np.stack([left, left * 0, left + 9, left * 0 + 9], axis=1)  # each shares half of itself with the next
    assert box.nms(boxes, -left, 0.3).tolist() == list(range(0, 40, 2))


def test_groups_do_not_suppress_each_other() -> None:
    boxes, scores = random_boxes(120, 60, 2)
    group = np.random.default_rng(3).integers(0, 5, 120)
    found = box.nms_by_group(boxes, scores, group, 0.4)
    each = [np.flatnonzero(group == number) for number in range(5)]
    assert found.tolist() == [at[kept] for at in each for kept in box.nms(boxes[at], scores[at], 0.4)]


def test_twenty_thousand_boxes_are_suppressed_within_bounded_memory() -> None:
    random = np.random.default_rng(5)
    corner = random.integers(0, 4000, (20_000, 2)).astype(float)
    boxes = np.hstack([corner, corner + random.integers(20, 200, (20_000, 1))])
    scores = random.random(20_000).astype(np.float32)
    kept = box.nms(boxes, scores, 0.7)
    assert (np.diff(scores[kept]) <= 0).all()
    assert 10_000 < len(kept) < 20_000


def test_offsets_are_parts_of_the_box() -> None:
    boxes, offsets = np.array([[10.0, 20, 19, 39]]), np.array([[0.1, 0.1, -0.1, 0.5]], np.float32)
    np.testing.assert_allclose(box.regress(boxes, offsets), [[11, 22, 18, 49]], rtol=1e-6)
    np.testing.assert_allclose(box.regress(boxes, offsets, extent=0), [[10.9, 21.9, 18.1, 48.5]], rtol=1e-6)


def test_a_square_keeps_the_centre_and_the_longer_side() -> None:
    np.testing.assert_array_equal(box.square(np.array([[0.0, 0, 10, 4]])), [[0, -3, 10, 7]])
    np.testing.assert_array_equal(box.square(np.array([[0.0, 0, 9, 3]]), extent=1), [[0, -3, 9, 6]])
