from itertools import pairwise

import cv2
import numpy as np
import pytest

from preprocess import patches
from preprocess.area import Picture

IMAGE = np.random.default_rng(6).integers(0, 256, (210, 330, 3), np.uint8)


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture(IMAGE)


def product(cut: patches.Patches) -> np.ndarray:
    """What the networks make of them first: float32[n, size, size, 3]."""
    count, size = cut.rows.shape[:2]
    tall = (cut.rows @ cut.cut).reshape(count, size, -1, 3)
    return np.einsum("nyqc,nxq->nyxc", tall, cut.columns)


def padded(box: np.ndarray, size: int) -> np.ndarray:
    """The box cut out of the picture, black outside it, as the original scales it."""
    x1, y1, x2, y2 = box.astype(int)
    far = 1000
    wide = np.pad(IMAGE, [(far, far), (far, far), (0, 0)]).astype(np.float32)
    return np.asarray(
        cv2.resize(wide[far + y1 - 1 : far + y2, far + x1 - 1 : far + x2], (size, size), interpolation=cv2.INTER_AREA)
    )


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
def test_a_patch_is_what_opencv_makes_of_the_padded_box(picture: Picture, boxes: list[list[int]], size: int) -> None:
    corners = np.array(boxes, float)
    found = product(patches.cut(picture, corners, size))
    for patch, box in zip(found, corners, strict=True):
        np.testing.assert_allclose(patch, padded(box, size), atol=0.02)


def test_a_mirrored_picture_is_cut_as_a_copy_of_it_is() -> None:
    mirrored = IMAGE[:, ::-1]
    boxes = np.array([[5.0, 7, 90, 92], [-10, -12, 40, 38], [300, 190, 350, 240]])
    found = product(patches.cut(Picture(mirrored), boxes, 24))
    np.testing.assert_array_equal(found, product(patches.cut(Picture(mirrored.copy()), boxes, 24)))


def test_a_box_outside_the_picture_is_black(picture: Picture) -> None:
    found = product(patches.cut(picture, np.array([[400.0, 10, 430, 40], [10, -90, 40, -60]]), 24))
    assert (found == 0).all()


def test_patches_that_are_ready_stay_as_they_are() -> None:
    ready = np.random.default_rng(7).random((3, 24, 24, 3), np.float32)
    np.testing.assert_allclose(product(patches.whole(ready)), ready, rtol=1e-6)


def test_batches_hold_every_box_once_and_like_sides_together() -> None:
    side = np.random.default_rng(8).integers(20, 300, 101)
    boxes = np.stack([side * 0, side * 0, side, side], axis=1).astype(float)
    parts = patches.batches(boxes, 24, workers=2)
    assert sorted(np.concatenate(parts)) == list(range(101))
    assert len(parts) % 2 == 0
    assert max(len(part) for part in parts) * 24**2 <= patches.PIXELS_AT_ONCE
    assert all(side[a].min() >= side[b].max() for a, b in pairwise(parts))


def test_one_box_is_one_batch() -> None:
    assert [part.tolist() for part in patches.batches(np.array([[1.0, 1, 9, 9]]), 48, workers=4)] == [[0]]
