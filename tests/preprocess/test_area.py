import cv2
import numpy as np
import pytest

from preprocess import area


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def opencv(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((250, 250), (150, 150)),
        ((250, 250), (76, 76)),
        ((251, 333), (20, 27)),
        ((1000, 1500), (214, 321)),
        ((1000, 1500), (39, 58)),
        ((1500, 1000), (58, 39)),
        ((640, 480), (80, 60)),
        ((1024, 1024), (31, 32)),
        ((1999, 20), (50, 1)),
        ((700, 700), (1, 1)),
    ],
    ids=str,
)
def test_a_picture_is_scaled_as_opencv_scales_it(
    size: tuple[int, int], scaled: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(area, "PAYS_FROM", 0)
    monkeypatch.setattr(area, "PAYS_ABOVE", 0)
    image = noise(*size)
    difference = area.resize(area.Picture(image), *scaled).astype(int) - opencv(image, *scaled)
    assert np.abs(difference).max() <= 1  # where the mean lies half-way between two greys, up to rounding errors
    assert np.count_nonzero(difference) <= 1e-4 * difference.size


def test_levels_that_shrink_little_are_opencvs_own() -> None:
    image = noise(100, 120)
    np.testing.assert_array_equal(area.resize(area.Picture(image), 60, 72), opencv(image, 60, 72))


def test_parts_of_a_pixel_thinner_than_a_thousandth_are_left_out_as_opencv_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(area, "PAYS_FROM", 0)
    monkeypatch.setattr(area, "PAYS_ABOVE", 0)
    image = noise(2001, 2001)
    image[::2] = 0  # neighbours differ as much as they can
    difference = area.resize(area.Picture(image), 500, 500).astype(int) - opencv(image, 500, 500)
    assert np.count_nonzero(difference) <= 1e-4 * difference.size


def test_sums_that_wrap_around_still_give_the_right_means() -> None:
    white = np.full((3000, 3100, 3), 255, np.uint8)  # its sum has 33 bits
    assert (area.resize(area.Picture(white), 99, 103) == 255).all()


def test_totals_are_sums_over_cells_that_may_cut_pixels() -> None:
    image = noise(9, 7)
    fine = image.repeat(4, axis=0).repeat(4, axis=1).astype(float) / 16
    rows, columns = np.array([0.0, 2.25, 5.5, 9.0]), np.array([1.75, 2.0, 6.25])
    found = area.totals(area.Picture(image).sums, rows, columns).reshape(3, 2, 3)
    for row in range(3):
        for column in range(2):
            part = fine[
                int(rows[row] * 4) : int(rows[row + 1] * 4), int(columns[column] * 4) : int(columns[column + 1] * 4)
            ]
            np.testing.assert_allclose(found[row, column], part.sum(axis=(0, 1)), rtol=1e-5)


def test_what_lies_outside_the_picture_is_black() -> None:
    sums = area.Picture(np.full((4, 4, 3), 100, np.uint8)).sums
    found = area.totals(sums, np.array([-3.0, -1.0, 1.0, 6.0]), np.array([-2.0, 2.0]))
    np.testing.assert_allclose(found[:, 0], [0, 200, 600], rtol=1e-6)
