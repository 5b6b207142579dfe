import numpy as np
import pytest

from preprocess import align


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, 3.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_turned_scaled_and_shifted_template_is_brought_back(angle: float, scale: float) -> None:
    matrix = align.similarity(moved(align.TEMPLATE, angle, scale, (30.0, -7.0)))
    back = moved(align.TEMPLATE, angle, scale, (30.0, -7.0)) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, align.TEMPLATE, atol=1e-9)


def test_mirrored_points_are_not_mirrored_back() -> None:
    matrix = align.similarity(align.TEMPLATE * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


def test_points_that_coincide_give_finite_numbers() -> None:
    assert np.isfinite(align.similarity(np.full((5, 2), 12.0))).all()


def test_an_aligned_picture_is_the_picture_itself_when_its_points_are_the_template() -> None:
    photo = np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_array_equal(align.align(photo, align.TEMPLATE), photo)


@pytest.mark.parametrize("left", [0, 20_000, 33_000 - 500])
@pytest.mark.parametrize("tall", [False, True])
def test_a_face_in_a_picture_of_more_than_32766_pixels_a_side_is_the_face_alone(left: int, tall: bool) -> None:
    alone = np.random.default_rng(3).integers(0, 256, (300, 500, 3), np.uint8)
    points = align.TEMPLATE * 1.7 + (130, 60)
    wide = np.zeros((300, 33_000, 3), np.uint8)
    wide[:, left : left + 500] = alone
    moved = points + np.array([left, 0])
    if tall:
        alone, wide = (np.ascontiguousarray(picture.transpose(1, 0, 2)) for picture in (alone, wide))
        points, moved = points[:, ::-1], moved[:, ::-1]
    assert np.array_equal(align.align(wide, moved), align.align(alone, points))


def test_landmarks_far_apart_in_a_picture_of_more_than_32766_pixels_a_side_are_aligned() -> None:
    assert align.align(np.zeros((300, 33_000, 3), np.uint8), align.TEMPLATE * (400, 1)).shape == (112, 112, 3)


def test_what_lies_outside_the_photo_is_black() -> None:
    photo = np.full((112, 112, 3), 255, np.uint8)
    aligned = align.align(photo, align.TEMPLATE - 56)
    assert (aligned[:50, :50] == 0).all()
    assert (aligned[60:, 60:] == 255).all()
