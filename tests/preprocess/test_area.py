from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocess import area
from preprocess.area import Scaler
from preprocess.workers import Workers

IMAGE = np.random.default_rng(6).integers(0, 256, (210, 330, 3), np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def opencv(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def scaler(repository: Path) -> Scaler:
    return Scaler(repository / "face_detect" / "1")


def shrunk(scaler: Scaler, image: np.ndarray, *sizes: tuple[int, int], threads: int = 2) -> list[np.ndarray]:
    return scaler.shrink(image, list(sizes), Workers(threads))


def padded(box: np.ndarray, size: int) -> np.ndarray:
    """The box cut out of IMAGE, black outside it, as the original scales it: float32[3, size, size]."""
    x1, y1, x2, y2 = box.astype(int)
    far = 1000
    wide = np.pad(IMAGE, [(far, far), (far, far), (0, 0)]).astype(np.float32)
    part = wide[far + y1 - 1 : far + y2, far + x1 - 1 : far + x2]
    return opencv(part, size, size).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((100, 120), (60, 72)),
        ((250, 250), (150, 150)),
        ((250, 250), (76, 76)),
        ((251, 333), (20, 27)),
        ((1000, 1500), (600, 900)),
        ((1000, 1500), (214, 321)),
        ((1500, 1000), (58, 39)),
        ((640, 480), (640, 479)),
        ((1024, 1024), (31, 32)),
        ((1999, 20), (50, 1)),
        ((700, 701), (1, 1)),
    ],
    ids=str,
)
def test_a_picture_is_made_smaller_as_opencv_does_it(
    scaler: Scaler, size: tuple[int, int], scaled: tuple[int, int]
) -> None:
    image = noise(*size)
    difference = shrunk(scaler, image, scaled)[0].astype(int) - opencv(image, *scaled)
    assert np.abs(difference).max() <= 1  # where the mean lies half-way between two greys, up to rounding errors
    assert np.count_nonzero(difference) <= 1e-4 * difference.size


@pytest.mark.parametrize("scaled", [(50, 60), (100, 120), (25, 40)], ids=str)
def test_means_of_whole_pixels_are_rounded_as_opencv_rounds_them(scaler: Scaler, scaled: tuple[int, int]) -> None:
    image = noise(100, 120)
    np.testing.assert_array_equal(shrunk(scaler, image, scaled)[0], opencv(image, *scaled))


def test_parts_of_a_pixel_thinner_than_a_thousandth_are_left_out_as_opencv_does(scaler: Scaler) -> None:
    image = noise(2001, 2001)
    image[::2] = 0  # neighbours differ as much as they can
    difference = shrunk(scaler, image, (500, 500))[0].astype(int) - opencv(image, 500, 500)
    assert np.count_nonzero(difference) <= 1e-4 * difference.size


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_strips_and_threads_change_nothing(scaler: Scaler, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(150, 199), (90, 121), (31, 47), (4, 7), (1, 2)]
    whole = shrunk(scaler, IMAGE, *sizes, threads=1)
    monkeypatch.setattr(area, "STRIP_BYTES", 10_000)
    for one, other in zip(whole, shrunk(scaler, IMAGE, *sizes, threads=threads), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_picture_that_may_only_be_read_is_taken(scaler: Scaler) -> None:
    image = noise(60, 50)
    image.setflags(write=False)
    assert shrunk(scaler, image, (31, 27))[0].shape == (31, 27, 3)
    assert scaler.cut(image, np.array([[1.0, 1, 20, 20]]), 24).shape == (1, 3, 24, 24)


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[5, 7, 22, 24], [1, 1, 20, 20], [100, 90, 121, 111]], id="smaller than the patch"),
        pytest.param([[5, 7, 28, 30], [50, 60, 97, 107]], id="of the patch's size"),
        pytest.param([[5, 7, 90, 92], [200, 100, 261, 160]], id="larger"),
        pytest.param([[-10, -12, 40, 38], [300, 190, 350, 240], [-3, 100, 20, 123]], id="over the border"),
        pytest.param([[-100, -80, 400, 420], [1, 1, 330, 330]], id="larger than the picture"),
        pytest.param([[10, 10, 260, 260], [30, 40, 55, 65]], id="large and small together"),
        pytest.param([[10, 10, 33, 34], [40, 40, 64, 63]], id="not quite square"),
    ],
)
def test_a_patch_is_what_opencv_makes_of_the_padded_box(scaler: Scaler, boxes: list[list[int]], size: int) -> None:
    corners = np.array(boxes, float)
    found = scaler.cut(IMAGE, corners, size)
    for patch, box in zip(found, corners, strict=True):
        np.testing.assert_allclose(patch, padded(box, size), atol=1e-3)


def test_a_box_outside_the_picture_is_black(scaler: Scaler) -> None:
    boxes = np.array([[400.0, 10, 430, 40], [10, -90, 40, -60], [-90, 10, -60, 40], [10, 300, 40, 330]])
    assert (scaler.cut(IMAGE, boxes, 24) == 0).all()


def test_a_box_without_an_area_is_cut_as_one_pixel(scaler: Scaler) -> None:
    found = scaler.cut(IMAGE, np.array([[5.0, 7, 4, 6], [5, 7, 1, 2]]), 24)
    np.testing.assert_allclose(found, np.broadcast_to(IMAGE[6, 4][:, None, None], found.shape), rtol=1e-5)


def test_a_box_of_any_size_shows_nothing_but_the_picture_and_black(scaler: Scaler) -> None:
    far = [1e10, 1e19, 1e300, np.inf]
    boxes = np.array(
        [[-corner, -corner, corner, corner] for corner in far] + [[1, 1, corner, corner] for corner in far]
    )
    found = scaler.cut(IMAGE, boxes, 24)
    assert (found >= 0).all() and (found <= 255).all()


def test_a_picture_of_one_pixel_is_cut(scaler: Scaler) -> None:
    found = scaler.cut(np.full((1, 1, 3), 7, np.uint8), np.array([[1.0, 1, 1, 1], [0, 0, 2, 2]]), 24)
    np.testing.assert_allclose(found[0], 7, rtol=1e-6)
    assert found[1].sum() == pytest.approx(7 * 24 * 24 * 3 / 9, rel=1e-5)


def test_a_mirrored_picture_is_taken_as_a_copy_of_it_is(scaler: Scaler) -> None:
    mirrored, boxes = IMAGE[:, ::-1], np.array([[5.0, 7, 90, 92], [-10, -12, 40, 38]])
    np.testing.assert_array_equal(scaler.cut(mirrored, boxes, 24), scaler.cut(mirrored.copy(), boxes, 24))
    np.testing.assert_array_equal(shrunk(scaler, mirrored, (90, 121))[0], shrunk(scaler, mirrored.copy(), (90, 121))[0])


def test_no_boxes_are_no_patches(scaler: Scaler) -> None:
    assert scaler.cut(IMAGE, np.empty((0, 4)), 48).shape == (0, 3, 48, 48)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(np.float32), IMAGE[:, :, 0], np.zeros((20, 20, 4), np.uint8)], ids=["floats", "grey", "RGBA"]
)
def test_what_is_no_image_is_not_given_to_the_loops(scaler: Scaler, image: np.ndarray) -> None:
    for scale in (lambda: shrunk(scaler, image, (10, 10)), lambda: scaler.cut(image, np.ones((1, 4)), 24)):
        with pytest.raises(ValueError, match=r"an image is uint8\[h, w, 3\], not "):
            scale()


@pytest.mark.parametrize("size", [(211, 300), (200, 331)])
def test_a_picture_is_not_made_larger(scaler: Scaler, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be made larger"):
        shrunk(scaler, IMAGE, (100, 100), size)


def test_no_sizes_are_no_pictures(scaler: Scaler) -> None:
    assert shrunk(scaler, IMAGE) == []


def test_boxes_of_any_kind_of_number_are_cut_alike(scaler: Scaler) -> None:
    boxes = np.array([[5.0, 7, 90, 92], [-10, -12, 40, 38]])
    for kind in (np.float32, np.int64):
        np.testing.assert_array_equal(scaler.cut(IMAGE, boxes.astype(kind), 24), scaler.cut(IMAGE, boxes, 24))
